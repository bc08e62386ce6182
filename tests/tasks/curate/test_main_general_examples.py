import hashlib
import json
from pathlib import Path

import pytest

from retune.data import row_table, suppression
from retune.errors import Refused, WrongUse
from tasks.curate.__main__ import main
from tests.support.curation import FORGOTTEN, PATHS, WRITING, curate_general, reply_rows, rows, user_message


def test_general_examples_are_cleaned_as_rows_are_and_counted_by_reason():
    examples = reply_rows(
        ("g:1", " What is two and two? ", " four "), ("g:2", "Who wrote it?", "\u200b"), ("g:3", "x", "y"),
        ("g:4", "word " * 41, "long"), ("g:5", "what is two and two", "four"), ("g:6", "what is two and two", "4"),
    )  # fmt: skip
    accepted, left_out = curate_general(examples, reply_rows(("1", "Where is it?", "here")), WRITING)
    assert accepted[["id", "label"]].to_numpy().tolist() == [["g:1", "four"], ["g:6", "4"]]
    assert {reason: count for reason, count in left_out.items() if count} == {
        "no_label": 1, "too_short": 1, "too_long": 1, "exact_copy": 1,
    }  # fmt: skip


@pytest.mark.parametrize("side", ["test", "val", "train", ""])
def test_a_general_example_that_asks_what_a_record_asks_is_left_out_on_whatever_side_that_stands(side):
    records = reply_rows(("1", "Where is my parcel?", "here", side), ("2", "more words", "there"))
    examples = reply_rows(("g:1", "where is my PARCEL", "no idea"), ("g:2", "Who wrote it?", "she"))
    accepted, left_out = curate_general(examples, records, WRITING)
    assert (list(accepted["id"]), left_out["asked_by_a_record"]) == (["g:2"], 1)


def test_what_had_to_be_forgotten_does_not_come_back_as_a_general_example(set_general_sources):
    row_table.write(
        reply_rows(("1", "Where is my parcel?", "here"), ("2", "more words", "there")), Path("raw/000.parquet")
    )
    suppression.write(FORGOTTEN, Path("suppressed.json"))
    set_general_sources(
        [{"prompt": "where is my parcel", "completion": "here"}, {"prompt": "who?", "completion": "she"}]
    )
    main(*PATHS)
    assert "1" not in set(row_table.read(Path("curated/rows.parquet"))["id"])
    assert list(row_table.read(Path("curated/general.parquet"))["id"]) == ["own.jsonl:2"]


def test_the_stage_keeps_general_examples_apart_and_tells_of_which_file(set_general_sources):
    row_table.write(reply_rows(*((str(n), f"question {n}", "a") for n in range(4))), Path("raw/000.parquet"))
    set_general_sources(
        [{"instruction": "Add.", "input": "2 and 2", "output": "4"}, {"instruction": "Say.", "output": ""}]
    )
    main(*PATHS)
    report = json.loads(Path("curate.json").read_text())
    assert (report["received"], report["kept"], sum(report["reasons"].values())) == (4, 4, 0)
    assert list(report["sources"]) == ["desk"]
    (file,) = report["general"]["files"].items()
    digest = hashlib.sha256(Path("own.jsonl").read_bytes()).hexdigest()
    path = str(Path("own.jsonl").absolute())
    assert file == ("own.jsonl", {"path": path, "sha256": digest, "received": 2, "kept": 1})
    assert report["general"]["reasons"]["no_label"] == 1
    (row,) = row_table.read(Path("curated/general.parquet")).to_dict("records")
    assert (row["id"], row["text"], row["label"]) == ("own.jsonl:1", user_message("Add.\n\n2 and 2"), "4")
    assert len(row_table.read(Path("curated/rows.parquet"))) == 4


def test_without_files_nothing_is_said_of_general_examples_and_their_file_is_empty(stage_folder):
    row_table.write(rows(*((str(n), f"text {n}", "a") for n in range(10))), Path("raw/000.parquet"))
    main(*PATHS)
    assert "general" not in json.loads(Path("curate.json").read_text())
    assert row_table.read(Path("curated/general.parquet")).empty


@pytest.mark.parametrize(("changes", "error", "message"), [
    ({"sha256": "0" * 64}, Refused, "have sha256 .*, not 0{64}: restore that file, or write the new hash into"),
    ({"path": "/nowhere/own.jsonl"}, WrongUse, "/nowhere/own.jsonl cannot be read: No such file"),
    ({"path": "own.jsonl"}, WrongUse, r"replay.0.path: not an absolute path: 'own.jsonl'"),
    ({"sha256": "short"}, WrongUse, r"curate.replay.0.sha256 is 'short'"),
])  # fmt: skip
def test_a_file_that_is_not_there_or_another_than_was_meant_is_refused(set_general_sources, changes, error, message):
    row_table.write(reply_rows(("1", "one question", "a")), Path("raw/000.parquet"))
    set_general_sources([{"prompt": "who?", "completion": "she"}], **changes)
    with pytest.raises(error, match=message):
        main(*PATHS)
    assert not Path("curated").exists()


@pytest.mark.parametrize(("records", "message"), [
    ([{"question": "who?", "answer": "she"}], "no format of task instruct"),
    ([{"messages": [{"role": "user", "content": "who?"}]}], "own.jsonl, line 1: .*end with its answer"),
    ([], "holds no rows"),
])  # fmt: skip
def test_a_file_that_holds_no_examples_is_refused_with_its_place(set_general_sources, records, message):
    row_table.write(reply_rows(("1", "one question", "a")), Path("raw/000.parquet"))
    set_general_sources(records)
    with pytest.raises((Refused, WrongUse), match=message):
        main(*PATHS)
