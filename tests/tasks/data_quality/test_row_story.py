from pathlib import Path

import pandas as pd
import pytest

from retune.data import label_verdicts, row_table, suppression
from retune.data.label_verdicts import Verdict, digest
from retune.data.row_table import COLUMNS
from tasks.data_quality import row_story
from tasks.data_quality.row_story import Arrival, Step
from tests.support.curated import write_curated_rows
from tests.support.environment import ROOT


def write(path, *rows, more=()):
    row_table.write(pd.DataFrame(rows, columns=[*COLUMNS, *more]).astype("str"), Path(path))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text("utf-8"), "utf-8")
    write("data/raw/1.parquet", ("0", "x", "a", "", "crm", ""), ("1", "I am ann@example.org", "a", "", "crm", ""))
    write(
        "data/raw/2.parquet", ("1", "my money", "billing", "", "crm", "train"), ("2", "my money!", "a", "", "crm", "")
    )
    write_curated_rows([("1", "my money", "refunds")])
    rejected = (
        ("1", "I am <EMAIL_1>", "a", "", "crm", "", "superseded", ""),
        ("2", "my money!", "a", "", "crm", "", "exact_copy", "1"),
    )
    write("data/curated/rejects.parquet", *rejected, more=("reason", "detail"))
    write("data/splits/train.parquet", ("1", "my money", "refunds", "", "crm", "train"))
    return tmp_path


def test_a_row_that_stays_is_told_from_its_arrivals_to_its_split(folder):
    label_verdicts.write([Verdict("1", digest("my money"), "billing", "refunds", "Ada", "2026-11-30")])
    story = row_story.tell("1")
    assert story.arrivals == [
        Arrival("1.parquet", 2, "crm", "I am <EMAIL_1>", "a", ""),
        Arrival("2.parquet", 1, "crm", "my money", "billing", "train"),
    ]
    assert {step.decision for step in story.steps} == {"passed"}
    assert (story.curated, story.split) == ({"text": "my money", "label": "refunds"}, "train")
    assert story.label_by == "billing → refunds (Ada, 2026-11-30)"
    assert story.outdated == ["data/label_verdicts.json"]


def test_another_label_without_a_verdict_was_merged(folder):
    assert row_story.tell("1").label_by == "billing → refunds (curate.merge_labels)"


def test_of_a_rejected_row_the_step_and_its_detail_are_told(folder):
    story = row_story.tell("2")
    assert Step("exact_copy", "rejected", "1") in story.steps
    assert (story.steps[0].decision, story.steps[-1].decision) == ("passed", "not reached")
    assert (story.curated, story.split, story.label_by) == (None, None, None)


def test_of_a_row_that_is_not_curated_and_of_none_nothing_is_told(folder):
    assert (len(row_story.tell("0").arrivals), row_story.tell("0").steps) == (1, [])
    assert row_story.tell("nobody").arrivals == []


def test_the_words_of_a_forgotten_row_are_not_told(folder):
    suppression.write(suppression.add(suppression.NOTHING, ["0"], "asked", "A. Tester", "2026-11-30"))
    assert [arrival.text for arrival in row_story.tell("0").arrivals] == [""]
