import hashlib
import json
import os
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

from retune.errors import Broken, Refused, WrongUse

HEAD = "id,body,queue\n"


@pytest.fixture
def drop(tmp_path):
    """The folder that somebody drops exports into."""
    made = tmp_path / "drop"
    made.mkdir()
    return made


@pytest.fixture
def files(drop, define):
    return define("files", path=str(drop))


def names(batch):
    assert not batch.error, batch.error
    return [file.name for file in batch.files]


def test_each_new_file_comes_once_and_a_file_that_grew_comes_again_whole(drop, files, work):
    (drop / "b.csv").write_text(HEAD + "1,a,x\n2,b,x\n")
    (drop / "a.jsonl").write_text('{"id": 3, "body": "c", "queue": "y"}\n')
    batch = work.one(files)
    assert names(batch) == ["00001-a.jsonl", "00002-b.csv"]
    assert batch.rows == 3
    assert batch.files[1].read_bytes() == (drop / "b.csv").read_bytes()
    assert batch.cursor["files"][str(drop / "b.csv")] == {
        "bytes": 26,
        "sha256": hashlib.sha256((drop / "b.csv").read_bytes()).hexdigest(),
    }
    assert names(work.one(files)) == []
    with (drop / "b.csv").open("a") as file:
        file.write("4,d,x\n")
    batch = work.one(files)
    assert (names(batch), batch.rows) == (["00001-b.csv"], 3)
    os.utime(drop / "b.csv", (1, 1))  # the clock says nothing
    assert names(work.one(files)) == []
    (drop / "b.csv").write_text(HEAD + "1,a,x\n2,b,x\n4,D,x\n")  # as long as it was
    assert names(work.one(files)) == ["00001-b.csv"]


def test_everything_that_ingest_reads_is_read(drop, files, work):
    table = pd.DataFrame({"id": ["1"], "body": ["a"], "queue": ["x"]})
    table.to_parquet(drop / "a.parquet")
    table.to_csv(drop / "b.tsv", sep="\t", index=False)
    table.to_json(drop / "c.json", orient="records")
    (drop / "notes.txt").write_text("hello")
    batch = work.one(files)
    assert (len(batch.files), batch.rows) == (3, 3)
    assert any("notes.txt" in line for line in work.said)


def test_a_file_or_a_glob_will_do(drop, files, work):
    (drop / "2026").mkdir()
    for name in ("2026/a.csv", "2026/b.csv", "c.csv", "d.jsonl"):
        (drop / name).write_text(HEAD + f"{name},a,x\n")
    assert names(work.one({**files, "path": str(drop / "c.csv")})) == ["00001-c.csv"]
    found = names(work.one({**files, "path": str(drop / "**" / "*.csv")}))
    assert found == ["00001-a.csv", "00002-b.csv", "00003-c.csv"]
    odd = drop / "a[1].csv"
    odd.write_text(HEAD + "9,a,x\n")
    assert names(work.one({**files, "path": str(odd)})) == ["00001-a[1].csv"]


def test_a_file_that_is_still_being_written_waits(drop, files, work):
    work.knobs["settle_seconds"] = 30.0
    (drop / "a.csv").write_text(HEAD + "1,a,x\n")
    (drop / "b.csv.part").write_text(HEAD)
    (drop / ".c.csv.tmp").write_text(HEAD)
    batch = work.one(files)
    assert (batch.files, batch.cursor["files"]) == ((), {})
    assert batch.waiting == (str(drop / "a.csv"), str(drop / "b.csv.part"))
    os.utime(drop / "a.csv", (time.time() - 31,) * 2)
    assert names(work.one(files)) == ["00001-a.csv"]
    (drop / "a.csv").write_text(HEAD + "1,a,x\n2,")
    batch = work.one(files)
    assert batch.files == ()
    assert str(drop / "a.csv") in batch.cursor["files"], "what was taken before is not forgotten meanwhile"


def test_a_file_from_the_future_is_taken_once_it_rests(drop, files, work):
    work.knobs["settle_seconds"] = 0.05
    (drop / "a.csv").write_text(HEAD + "1,a,x\n")
    os.utime(drop / "a.csv", (time.time() + 10**6,) * 2)  # somebody's clock was moved back
    assert names(work.one(files)) == ["00001-a.csv"]


def test_an_empty_export_is_a_quiet_week_and_told_once(drop, files, work):
    (drop / "a.csv").write_text("")
    (drop / "b.csv").write_text(HEAD)
    (drop / "c.csv").write_text(HEAD + "1,a,x\n")
    batch = work.one(files)
    assert names(batch) == ["00001-c.csv"]
    assert sum("no rows" in line for line in work.said) == 2
    work.one(files)
    assert work.said == []


@pytest.mark.parametrize(
    ("name", "content", "error", "said"),
    [
        ("a.csv", b"id,body,queue\n1,caf\xe9,x\n", Refused, "a.csv is not UTF-8: line 2"),
        ("a.csv", b"id,body,Queue\n1,a,x\n", WrongUse, "a.csv has no column 'queue'"),
        ("a.csv", b"id,body,queue\n1,a\n", Refused, "a.csv, line 2: 2 fields"),
        ("a.csv", b"<html><title>Log in</title></html>\n<p>,,\n", Refused, "3 fields, but the header has 1"),
        ("a.jsonl", b"<html>\n", Refused, "a.jsonl, line 1"),
        ("a.jsonl", b'[{"id": 1}]\n', Refused, "is not an object with columns"),
        ("a.parquet", b"", Refused, "not a valid Parquet file"),
        ("a.json", b"", Refused, "a.json, line 1"),
        ("a.csv", b"id,body,queue\n1," + b"a" * 1_000_001 + b",x\n", Refused, "more than 1 MB"),
    ],
)
def test_what_is_no_table_is_turned_down_in_words(drop, files, work, name, content, error, said):
    (drop / "before.csv").write_text(HEAD + "1,a,x\n")
    before = work.one(files).cursor
    (drop / name).write_bytes(content)
    batch = work.one(files)
    assert type(batch.error) is error
    assert said in str(batch.error)
    assert str(work.into) not in str(batch.error)
    assert (batch.files, batch.rows, batch.cursor) == ((), 0, before)
    assert not (work.into / "desk").exists()


def test_a_bad_file_stops_no_other_and_every_one_is_told_by_its_own_path(drop, files, work):
    good, latin, torn = (drop / name for name in ("a.csv", "b bad.csv", "c.csv"))
    good.write_text(HEAD + "1,a,x\n")
    latin.write_bytes(HEAD.encode() + b"2,caf\xe9,x\n")
    torn.write_text(HEAD + "3,a\n")
    (drop / "d.csv").write_text(HEAD + "4,d,x\n")
    batch = work.one(files)
    assert (names(batch), batch.rows) == (["00001-a.csv", "00002-d.csv"], 2)
    assert batch.places == (str(good), str(drop / "d.csv"))
    assert [str(file) in told for file, told in zip((latin, torn), batch.refused, strict=True)] == [True, True]
    assert f"iconv -f WINDOWS-1252 -t UTF-8 '{latin}' > 'new-b bad.csv'" in batch.refused[0]
    assert "0000" not in "".join(batch.refused), "no name of ours"
    assert [line.startswith("desk: FAILED, the other files were taken") for line in work.said] == [True, True]
    assert work.one(files).error, "nothing new but what is bad"
    subprocess.run(batch.refused[0].partition("Convert it: ")[2], shell=True, cwd=work.into.parent, check=True)
    (work.into.parent / "new-b bad.csv").replace(latin)
    batch = work.one(files)
    assert (names(batch), len(batch.refused)) == (["00001-b bad.csv"], 1)
    torn.write_text(HEAD + "3,a,x\n")
    assert names(work.one(files)) == ["00001-c.csv"]
    assert names(work.one(files)) == []


def test_all_files_that_are_bad_are_told_where_none_is_good(drop, files, work):
    for name in ("a.csv", "b.csv"):
        (drop / name).write_bytes(HEAD.encode() + b"2,caf\xe9,x\n")
    batch = work.one(files)
    assert isinstance(batch.error, Refused) and (batch.files, batch.refused, batch.cursor) == ((), (), {})
    assert all(f"{drop / name} is not UTF-8" in str(batch.error) for name in ("a.csv", "b.csv"))


def test_a_folder_that_is_not_there_is_no_quiet_week(files, work, drop):
    for path in (drop / "gone", drop / "gone" / "*.csv", drop / "gone.csv"):
        assert isinstance(work.one({**files, "path": str(path)}).error, WrongUse)


def test_a_pattern_that_matches_no_file_is_said_since_it_may_be_a_typing_error(files, work, drop):
    typo = {**files, "path": str(drop / "*.cvs")}
    (drop / "a.csv").write_text(HEAD + "1,a,x\n")
    assert work.one(typo).error is None
    (said,) = work.said
    assert said.startswith(f"desk: no file matches {drop}/*.cvs")
    assert work.one({**typo, "path": str(drop / "*.csv")}).rows == 1
    assert not any("no file matches" in line for line in work.said)


def test_a_folder_that_is_empty_is_a_quiet_week(files, work, drop):
    assert work.one(files).error is None and work.said == []


def test_a_file_whose_name_is_no_text_is_refused(files, work, drop):
    (Path(os.fsdecode(os.fsencode(drop) + b"/\xff.csv"))).write_text(HEAD + "1,a,x\n")
    assert "no UTF-8" in str(work.one(files).error)
    (drop / "a.csv").write_text(HEAD + "1,a,x\n")
    batch = work.one(files)
    assert names(batch) == ["00001-a.csv"] and "no UTF-8" in batch.refused[0]


def test_a_damaged_cursor_is_named(files, work, drop):
    (drop / "a.csv").write_text(HEAD + "1,a,x\n")
    work.one(files)
    work.cursors["desk"]["files"] = ["a.csv"]
    assert isinstance(work.one(files).error, Broken)


def test_one_source_that_fails_does_not_stop_the_others(files, work, drop):
    (drop / "a.csv").write_text(HEAD + "1,a,x\n")
    first, second = work.fetch({**files, "name": "bad", "path": "/no/such"}, files)
    assert isinstance(first.error, WrongUse) and first.cursor == {}
    assert names(second) == ["00001-a.csv"]
    assert work.said[0].startswith("bad: FAILED")


def test_a_source_that_is_defined_anew_is_read_from_its_start(files, work, drop):
    (drop / "a.csv").write_text("id,body,queue,who\n1,a,x,me\n")
    assert len(work.one(files).files) == 1
    files["columns"] = {**files["columns"], "group": "who"}
    assert len(work.one(files).files) == 1
    assert "in another way" in work.said[0]
    assert work.one(files).files == ()


def test_what_cannot_be_stated_of_a_source_is_refused_before_anything_is_fetched(files, work, drop):
    assert isinstance(work.one({**files, "collected": "last week"}).error, WrongUse)


def test_what_a_killed_fetch_left_is_cleared_away(files, work, drop):
    (work.into / "desk").mkdir(parents=True)
    (work.into / "desk" / "00009-old.csv").write_text("x")
    (drop / "a.csv").write_text(HEAD + "1,a,x\n")
    work.one(files)
    assert [file.name for file in (work.into / "desk").iterdir()] == ["00001-a.csv"]


def test_cursors_survive_json(files, work, drop):
    (drop / "ä b.csv").write_text(HEAD + "1,a,x\n")
    batch = work.one(files, keep=False)
    assert json.loads(json.dumps(batch.cursor)) == batch.cursor


def test_a_folder_that_cannot_be_written_to_is_named_and_the_cursor_stays(files, work, drop):
    (drop / "a.csv").write_text(HEAD + "1,a,x\n")
    work.into.write_text("no folder")
    batch = work.one(files)
    assert isinstance(batch.error, Broken) and "could not be written" in str(batch.error)
    assert batch.cursor == {}
