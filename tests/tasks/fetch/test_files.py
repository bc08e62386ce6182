import hashlib
import json
import os
import time
from pathlib import Path

import pandas as pd
import pytest

from retune.data.readers.records import Reading
from retune.errors import Broken, Refused, WrongUse
from tests.support.environment import READING
from tests.tasks.fetch.conftest import COLUMNS

HEAD = "id,body,queue\n"


@pytest.fixture
def drop_folder(tmp_path):
    """The folder that somebody drops exports into."""
    folder = tmp_path / "drop"
    folder.mkdir()
    return folder


@pytest.fixture
def files_source(drop_folder, define_source):
    return define_source("files", path=str(drop_folder))


def names(batch):
    assert not batch.error, batch.error
    return [file.name for file in batch.files]


def test_each_new_file_comes_once_and_a_file_that_grew_comes_again_whole(drop_folder, files_source, fetch_run):
    (drop_folder / "b.csv").write_text(HEAD + "1,a,x\n2,b,x\n")
    (drop_folder / "a.jsonl").write_text('{"id": 3, "body": "c", "queue": "y"}\n')
    batch = fetch_run.one(files_source)
    assert names(batch) == ["00001-a.jsonl", "00002-b.csv"]
    assert batch.rows == 3
    assert batch.files[1].read_bytes() == (drop_folder / "b.csv").read_bytes()
    assert batch.cursor["files"][str(drop_folder / "b.csv")] == {
        "bytes": 26,
        "sha256": hashlib.sha256((drop_folder / "b.csv").read_bytes()).hexdigest(),
    }
    assert names(fetch_run.one(files_source)) == []
    with (drop_folder / "b.csv").open("a") as file:
        file.write("4,d,x\n")
    batch = fetch_run.one(files_source)
    assert (names(batch), batch.rows) == (["00001-b.csv"], 3)
    os.utime(drop_folder / "b.csv", (1, 1))  # the clock says nothing
    assert names(fetch_run.one(files_source)) == []
    (drop_folder / "b.csv").write_text(HEAD + "1,a,x\n2,b,x\n4,D,x\n")  # as long as it was
    assert names(fetch_run.one(files_source)) == ["00001-b.csv"]


def test_params_say_of_a_file_what_its_content_does_not(drop_folder, define_source, fetch_run):
    (drop_folder / "a.csv").write_bytes("1;caf\xe9;x\n2;th\xe9;y\n".encode("cp1252"))
    columns = {**COLUMNS, "id": "column 1", "text": "column 2", "label": "column 3"}
    source = define_source("files", path=str(drop_folder), columns=columns)
    silent = fetch_run.one(source | {"reading": {**READING, "header": False}})
    assert "name the one whose words are right with reading.encoding" in str(silent.error)
    batch = fetch_run.one(
        source | {"reading": {"delimiter": ";", "encoding": "cp1252", "sheet": None, "header": False}}
    )
    assert (batch.error, batch.rows, batch.reading) == (None, 2, Reading(";", "cp1252", False))


def test_a_file_whose_columns_show_a_format_of_conversations_needs_no_names(drop_folder, define_source, fetch_run):
    (drop_folder / "a.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    columns = {**dict.fromkeys(COLUMNS), "keep": []}
    batch = fetch_run.one(define_source("files", path=str(drop_folder), columns=columns))
    assert (batch.error, batch.rows) == (None, 1)


def test_a_cursor_of_an_earlier_release_is_of_the_same_source(files_source, fetch_run):
    """As it was computed when sources had neither `reading` nor `columns.rejected` nor `columns.keep`."""
    before = {**files_source, "columns": {k: v for k, v in COLUMNS.items() if k not in ("rejected", "keep")}}
    del before["reading"]
    digest = hashlib.sha256(json.dumps(before, sort_keys=True).encode()).hexdigest()[:16]
    assert fetch_run.one(files_source).cursor["definition"] == digest
    other = files_source | {"reading": {**READING, "header": False}}
    assert fetch_run.one(other).cursor["definition"] != digest
    with_slices = files_source | {"columns": {**COLUMNS, "keep": ["queue"]}}
    assert fetch_run.one(with_slices).cursor["definition"] != digest


def test_a_file_without_a_column_to_keep_is_refused(files_source, fetch_run, drop_folder):
    (drop_folder / "a.csv").write_text("body,queue,id\na,b,1\n")
    batch = fetch_run.one(files_source | {"columns": {**COLUMNS, "keep": ["channel"]}})
    assert "has no column 'channel'" in str(batch.error or batch.refused)


def test_everything_that_ingest_reads_is_read(drop_folder, files_source, fetch_run):
    table = pd.DataFrame({"id": ["1"], "body": ["a"], "queue": ["x"]})
    table.to_parquet(drop_folder / "a.parquet")
    table.to_csv(drop_folder / "b.tsv", sep="\t", index=False)
    table.to_json(drop_folder / "c.json", orient="records")
    (drop_folder / "notes.txt").write_text("hello")
    batch = fetch_run.one(files_source)
    assert (len(batch.files), batch.rows) == (3, 3)
    assert any("notes.txt" in line for line in fetch_run.progress)


def test_a_file_or_a_glob_will_do(drop_folder, files_source, fetch_run):
    (drop_folder / "2026").mkdir()
    for name in ("2026/a.csv", "2026/b.csv", "c.csv", "d.jsonl"):
        (drop_folder / name).write_text(HEAD + f"{name},a,x\n")
    assert names(fetch_run.one({**files_source, "path": str(drop_folder / "c.csv")})) == ["00001-c.csv"]
    file_names = names(fetch_run.one({**files_source, "path": str(drop_folder / "**" / "*.csv")}))
    assert file_names == ["00001-a.csv", "00002-b.csv", "00003-c.csv"]
    odd = drop_folder / "a[1].csv"
    odd.write_text(HEAD + "9,a,x\n")
    assert names(fetch_run.one({**files_source, "path": str(odd)})) == ["00001-a[1].csv"]


def test_a_file_that_is_still_being_written_waits(drop_folder, files_source, fetch_run):
    fetch_run.settings["settle_seconds"] = 30.0
    (drop_folder / "a.csv").write_text(HEAD + "1,a,x\n")
    (drop_folder / "b.csv.part").write_text(HEAD)
    (drop_folder / ".c.csv.tmp").write_text(HEAD)
    batch = fetch_run.one(files_source)
    assert (batch.files, batch.cursor["files"]) == ((), {})
    assert batch.waiting == (str(drop_folder / "a.csv"), str(drop_folder / "b.csv.part"))
    os.utime(drop_folder / "a.csv", (time.time() - 31,) * 2)
    assert names(fetch_run.one(files_source)) == ["00001-a.csv"]
    (drop_folder / "a.csv").write_text(HEAD + "1,a,x\n2,")
    batch = fetch_run.one(files_source)
    assert batch.files == ()
    assert str(drop_folder / "a.csv") in batch.cursor["files"], "what was taken before is not forgotten meanwhile"


def test_a_file_from_the_future_is_taken_once_it_rests(drop_folder, files_source, fetch_run):
    fetch_run.settings["settle_seconds"] = 0.05
    (drop_folder / "a.csv").write_text(HEAD + "1,a,x\n")
    os.utime(drop_folder / "a.csv", (time.time() + 10**6,) * 2)  # somebody's clock was moved back
    assert names(fetch_run.one(files_source)) == ["00001-a.csv"]


def test_an_empty_export_is_a_quiet_week_and_told_once(drop_folder, files_source, fetch_run):
    (drop_folder / "a.csv").write_text("")
    (drop_folder / "b.csv").write_text(HEAD)
    (drop_folder / "c.csv").write_text(HEAD + "1,a,x\n")
    batch = fetch_run.one(files_source)
    assert names(batch) == ["00001-c.csv"]
    assert sum("no rows" in line for line in fetch_run.progress) == 2
    fetch_run.one(files_source)
    assert fetch_run.progress == []


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("a.csv", b"id,body,queue\n1,caf\xe9,x\n", Refused, "a.csv is not UTF-8: line 2"),
        ("a.csv", b"id,body,Queue\n1,a,x\n", WrongUse, "a.csv has no column 'queue'"),
        ("a.csv", b"id,body,queue\n1,a\n", Refused, "a.csv, line 2: 2 fields"),
        ("a.csv", b"<html><title>Log in</title></html>\n<p>,,\n", Refused, "a.csv is a web page"),
        ("a.jsonl", b"{<html>}\n", Refused, "a.jsonl, line 1"),
        ("a.jsonl", b"[1]\n", Refused, "is not an object with columns"),
        ("a.parquet", b"", Refused, "not a valid Parquet file"),
        ("a.csv", b"id,body,queue\n1," + b"a" * 1_000_001 + b",x\n", Refused, "more than 1 MB"),
    ],
)
def test_what_is_no_table_is_turned_down_in_words(drop_folder, files_source, fetch_run, name, content, error, message):
    (drop_folder / "before.csv").write_text(HEAD + "1,a,x\n")
    before = fetch_run.one(files_source).cursor
    (drop_folder / name).write_bytes(content)
    batch = fetch_run.one(files_source)
    assert type(batch.error) is error
    assert message in str(batch.error)
    assert str(fetch_run.into) not in str(batch.error)
    assert (batch.files, batch.rows, batch.cursor) == ((), 0, before)
    assert not (fetch_run.into / "desk").exists()


def test_a_bad_file_stops_no_other_and_every_one_is_told_by_its_own_path(drop_folder, files_source, fetch_run):
    good, latin, torn = (drop_folder / name for name in ("a.csv", "b bad.csv", "c.csv"))
    good.write_text(HEAD + "1,a,x\n")
    latin.write_bytes(HEAD.encode() + b"2,caf\xe9,x\n")
    torn.write_text(HEAD + "3,a\n")
    (drop_folder / "d.csv").write_text(HEAD + "4,d,x\n")
    batch = fetch_run.one(files_source)
    assert (names(batch), batch.rows) == (["00001-a.csv", "00002-d.csv"], 2)
    assert batch.places == (str(good), str(drop_folder / "d.csv"))
    assert [str(file) in refusal for file, refusal in zip((latin, torn), batch.refused, strict=True)] == [True, True]
    assert "cp1252 reads 'café'" in batch.refused[0]
    assert "0000" not in "".join(batch.refused), "no name of ours"
    assert [line.startswith("desk: FAILED, the other files were taken") for line in fetch_run.progress] == [True, True]
    assert fetch_run.one(files_source).error, "nothing new but what is bad"
    latin.write_text(latin.read_text("cp1252"), "utf-8")
    batch = fetch_run.one(files_source)
    assert (names(batch), len(batch.refused)) == (["00001-b bad.csv"], 1)
    torn.write_text(HEAD + "3,a,x\n")
    assert names(fetch_run.one(files_source)) == ["00001-c.csv"]
    assert names(fetch_run.one(files_source)) == []


def test_all_files_that_are_bad_are_told_where_none_is_good(drop_folder, files_source, fetch_run):
    for name in ("a.csv", "b.csv"):
        (drop_folder / name).write_bytes(HEAD.encode() + b"2,caf\xe9,x\n")
    batch = fetch_run.one(files_source)
    assert isinstance(batch.error, Refused) and (batch.files, batch.refused, batch.cursor) == ((), (), {})
    assert all(f"{drop_folder / name} is not UTF-8" in str(batch.error) for name in ("a.csv", "b.csv"))


def test_a_folder_that_is_not_there_is_no_quiet_week(files_source, fetch_run, drop_folder):
    for path in (drop_folder / "gone", drop_folder / "gone" / "*.csv", drop_folder / "gone.csv"):
        assert isinstance(fetch_run.one({**files_source, "path": str(path)}).error, WrongUse)


def test_a_pattern_that_matches_no_file_is_said_since_it_may_be_a_typing_error(files_source, fetch_run, drop_folder):
    typo = {**files_source, "path": str(drop_folder / "*.cvs")}
    (drop_folder / "a.csv").write_text(HEAD + "1,a,x\n")
    assert fetch_run.one(typo).error is None
    (warning,) = fetch_run.progress
    assert warning.startswith(f"desk: no file matches {drop_folder}/*.cvs")
    assert fetch_run.one({**typo, "path": str(drop_folder / "*.csv")}).rows == 1
    assert not any("no file matches" in line for line in fetch_run.progress)


def test_a_folder_that_is_empty_is_a_quiet_week(files_source, fetch_run, drop_folder):
    assert fetch_run.one(files_source).error is None and fetch_run.progress == []


def test_a_file_whose_name_is_no_text_is_refused(files_source, fetch_run, drop_folder):
    (Path(os.fsdecode(os.fsencode(drop_folder) + b"/\xff.csv"))).write_text(HEAD + "1,a,x\n")
    assert "not UTF-8" in str(fetch_run.one(files_source).error)
    (drop_folder / "a.csv").write_text(HEAD + "1,a,x\n")
    batch = fetch_run.one(files_source)
    assert names(batch) == ["00001-a.csv"] and "not UTF-8" in batch.refused[0]


def test_a_damaged_cursor_is_named(files_source, fetch_run, drop_folder):
    (drop_folder / "a.csv").write_text(HEAD + "1,a,x\n")
    fetch_run.one(files_source)
    fetch_run.cursors["desk"]["files"] = ["a.csv"]
    assert isinstance(fetch_run.one(files_source).error, Broken)


def test_one_source_that_fails_does_not_stop_the_others(files_source, fetch_run, drop_folder):
    (drop_folder / "a.csv").write_text(HEAD + "1,a,x\n")
    first, second = fetch_run.fetch({**files_source, "name": "bad", "path": "/no/such"}, files_source)
    assert isinstance(first.error, WrongUse) and first.cursor == {}
    assert names(second) == ["00001-a.csv"]
    assert fetch_run.progress[0].startswith("bad: FAILED")


def test_a_source_that_is_defined_anew_is_read_from_its_start(files_source, fetch_run, drop_folder):
    (drop_folder / "a.csv").write_text("id,body,queue,who\n1,a,x,me\n")
    assert len(fetch_run.one(files_source).files) == 1
    files_source["columns"] = {**files_source["columns"], "group": "who"}
    assert len(fetch_run.one(files_source).files) == 1
    assert "in another way" in fetch_run.progress[0]
    assert fetch_run.one(files_source).files == ()


def test_what_cannot_be_stated_of_a_source_is_refused_before_anything_is_fetched(files_source, fetch_run, drop_folder):
    assert isinstance(fetch_run.one({**files_source, "collected": "last week"}).error, WrongUse)


def test_what_a_killed_fetch_left_is_cleared_away(files_source, fetch_run, drop_folder):
    (fetch_run.into / "desk").mkdir(parents=True)
    (fetch_run.into / "desk" / "00009-old.csv").write_text("x")
    (drop_folder / "a.csv").write_text(HEAD + "1,a,x\n")
    fetch_run.one(files_source)
    assert [file.name for file in (fetch_run.into / "desk").iterdir()] == ["00001-a.csv"]


def test_cursors_survive_json(files_source, fetch_run, drop_folder):
    (drop_folder / "ä b.csv").write_text(HEAD + "1,a,x\n")
    batch = fetch_run.one(files_source, keep=False)
    assert json.loads(json.dumps(batch.cursor)) == batch.cursor


def test_a_folder_that_cannot_be_written_to_is_named_and_the_cursor_stays(files_source, fetch_run, drop_folder):
    (drop_folder / "a.csv").write_text(HEAD + "1,a,x\n")
    fetch_run.into.write_text("no folder")
    batch = fetch_run.one(files_source)
    assert isinstance(batch.error, Broken) and "could not be written" in str(batch.error)
    assert batch.cursor == {}
