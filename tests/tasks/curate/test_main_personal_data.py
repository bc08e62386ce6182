"""What curation does with personal data: the text that is learned from, the rejects and the report hold none."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from retune.data import messages, row_table
from retune.errors import WrongUse
from tasks.curate.__main__ import main
from tests.support.curation import LENIENT, PATHS, WRITING, curate, reply_rows, report, rows
from tests.support.environment import ROOT
from tests.support.personal_data import PII


def test_a_text_is_learned_without_its_personal_data_and_a_label_stays():
    accepted, _ = curate(rows(("1", "Write to  ann@example.org, bob@example.org", "desk@example.org")))
    assert accepted[["text", "label"]].to_numpy().tolist() == [["Write to <EMAIL_1>, <EMAIL_2>", "desk@example.org"]]


def test_prompt_and_answers_of_a_row_share_their_placeholders():
    table = reply_rows(("1", "I am ann@example.org", "Hello ann@example.org, write to bob@example.org"))
    accepted, _ = curate(table, WRITING, task="instruct")
    assert messages.parse(accepted["text"][0]) == [{"role": "user", "content": "I am <EMAIL_1>"}]
    assert accepted["label"][0] == "Hello <EMAIL_1>, write to <EMAIL_2>"


def test_texts_that_differ_in_personal_data_alone_are_copies():
    _, rejects = curate(rows(("1", "I am ann@example.org", "a"), ("2", "I am bob@example.org", "a")))
    assert rejects[["reason", "detail", "text"]].to_numpy().tolist() == [["exact_copy", "1", "I am <EMAIL_1>"]]


def test_a_reject_holds_no_personal_data_and_is_otherwise_as_it_came():
    table = rows(("1", " it  is ann@example.org ", ""), ("2", " it  is ", ""))
    assert curate(table)[1]["text"].tolist() == ["it is <EMAIL_1>", " it  is "]
    empty = reply_rows(("1", "", "Dear ann@example.org"))
    empty["text"] = messages.dump(
        [{"role": "system", "content": "of ann@example.org"}, {"role": "user", "content": " "}]
    )
    _, rejects = curate(empty, WRITING, task="instruct")
    assert rejects["reason"].tolist() == ["empty"]
    assert "of <EMAIL_1>" in rejects["text"][0] and rejects["label"][0] == "Dear <EMAIL_1>"


def test_a_test_row_keeps_its_bytes_unless_personal_data_stands_in_them():
    table = rows(("1", "as  it came", "a", "test"), ("2", "by  ann@example.org", "a", "test"))
    assert curate(table)[0]["text"].tolist() == ["as  it came", "by <EMAIL_1>"]


def test_action_drop_rejects_the_row_and_spares_a_test_row():
    config = replace(LENIENT, pii=replace(PII, card="drop"))
    table = rows(("1", "it is 4111111111111111", "a"), ("2", "is it 4111111111111111", "a", "test"), ("3", "b", "a"))
    accepted, rejects = curate(table, config)
    assert accepted[["id", "text"]].to_numpy().tolist() == [["2", "is it <CARD_1>"], ["3", "b"]]
    assert rejects[["id", "reason", "detail", "text"]].to_numpy().tolist() == [
        ["1", "personal_data", "card", "it is <CARD_1>"]
    ]


def test_the_report_counts_values_by_type_and_quotes_none():
    counts = report(
        rows(("1", "ann@example.org, bob@example.org", "a"), ("2", "4111111111111111", "a"), ("3", "x", "a"))
    )
    assert counts["personal_data"] == {"rows": 2, "values": {"card": 1, "email": 2}}
    assert "example.org" not in json.dumps(counts)


def test_no_file_of_the_stage_holds_what_the_sample_plants(stage_folder, capsys):
    planted = json.loads((ROOT / "tests/samples/answer_key.json").read_text("utf-8"))["personal_data"]
    with (ROOT / "tests/samples/tickets.csv").open(encoding="utf-8", newline="") as file:
        tickets = {row["ticket_id"]: row["body"] for row in csv.DictReader(file)}
    faulty = [*{span["id"]: (span["id"], tickets[span["id"]], "a") for span in planted}.values()]
    row_table.write(rows(*faulty), Path("raw/000.parquet"))
    main(*PATHS)
    stage_says = capsys.readouterr().out + PATHS[4].read_text("utf-8")
    texts = [*row_table.read(PATHS[3] / "rows.parquet")["text"], *row_table.read(PATHS[3] / "rejects.parquet")["text"]]
    values = [span["value"] for span in planted if span["kind"] != "name"]
    assert len(values) == 39
    assert not [value for value in values if value in stage_says or any(value in text for text in texts)]
    counts = json.loads(PATHS[4].read_text("utf-8"))["personal_data"]["values"]
    assert counts == {"card": 9, "email": 10, "iban": 10, "phone": 10}


def test_a_hash_without_a_secret_is_refused_before_any_row_is_read(stage_folder):
    Path("params.yaml").write_text(
        Path("params.yaml").read_text("utf-8").replace("email: redact", "email: hash"), "utf-8"
    )
    with pytest.raises(WrongUse, match="names no environment variable"):
        main(*PATHS)


def test_slices_hold_no_personal_data_and_stay_with_their_row(stage_folder):
    cells = ['{"agent": "ann@example.org", "type": "ann@example.org"}', '{"agent": "desk", "type": "mail"}', ""]
    table = rows(("1", "a text", "a"), ("2", "a text", "b"), ("3", "another", "a"))
    row_table.write(table.assign(slices=cells), Path("raw/000.parquet"))
    row_table.write(rows(("4", "of an earlier release", "a")), Path("raw/001.parquet"))
    main(*PATHS)
    accepted, rejects = (row_table.read(Path("curated") / name) for name in ("rows.parquet", "rejects.parquet"))
    placeholders = '{"agent": "<EMAIL_1>", "type": "<EMAIL_1>"}'
    assert dict(zip(rejects["id"], rejects["slices"], strict=True))["1"] == placeholders
    assert set(accepted.get("slices", [])) <= {""}
    assert json.loads(Path("curate.json").read_text())["personal_data"]["values"] == {"email": 2}
