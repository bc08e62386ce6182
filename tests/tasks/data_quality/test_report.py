import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from retune.config import params
from retune.data import row_table
from retune.errors import Refused
from tasks import split
from tasks.curate import __main__ as curate
from tasks.data_quality import report as data_report
from tests.support.environment import ROOT

RAW = Path("data/raw/00001-desk.parquet")
INPUTS = ("data/raw", "data/suppressed.json", "data/label_verdicts.json")
PATHS = [*map(Path, (*INPUTS, "data/curated", "models/reports/curate.json"))]


@pytest.fixture
def curated(scratch_folder, settings, make_tickets):
    """Curates and splits 240 tickets and what was planted among them; returns the params."""
    Path("params.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    rows = make_tickets(240)
    planted = rows.iloc[:4].assign(
        id=["c1", "c2", "e1", "n1"], text=["same", "same", "", "call me: ann@example.org now"]
    )
    planted.loc[planted["id"] == "c2", "label"] = "repairs"
    RAW.parent.mkdir(parents=True)
    row_table.write(pd.concat([rows, planted], ignore_index=True), RAW)
    for name in ("suppressed.json", "label_verdicts.json"):
        shutil.copy(ROOT / "data" / name, f"data/{name}")
    Path("models/reports").mkdir(parents=True)
    curate.main(*PATHS)
    split.main(
        data_report.CURATED,
        Path("data/curated/clusters.parquet"),
        Path("data/splits"),
        Path("models/reports/split.json"),
    )
    return params.load()


def test_rows_in_are_rows_kept_and_dropped_with_examples(curated):
    report = data_report.report(curated, None)
    assert report.received == 244 == report.kept + sum(each.rows for each in report.dropped)
    dropped = {each.reason: each for each in report.dropped}
    assert [example.id for example in dropped["conflicting_labels"].examples] == ["c1", "c2"]
    assert dropped["empty"].rows == 1 and report.personal == {"email": 1}
    assert sum(report.splits.values()) == report.kept == sum(each.rows for each in report.lengths)
    assert report.champion is report.drift is report.new_rows is None


def test_examples_hold_no_personal_data(curated):
    raw = row_table.read(RAW)
    row_table.write(raw.assign(label=raw["label"].where(raw["id"] != "n1", "")), RAW)
    curate.main(*PATHS)
    examples = {each.reason: each.examples for each in data_report.report(curated, None).dropped}
    assert [example.text for example in examples["no_label"]] == ["call me: <EMAIL_1> now"]


def test_what_brings_most_rows_comes_first(curated):
    first, *_ = data_report.report(curated, None).next_steps
    assert (first.title, first.rows) == ("Decide the label of rows that contradict each other", 2)


def test_only_rows_that_are_new_since_the_champion_are_compared(curated):
    rows = row_table.read(data_report.CURATED)
    old = rows[rows["label"] != "bills"]
    report = data_report.report(curated, data_report.Earlier("tickets/1", old))
    assert report.new_rows == (rows["label"] == "bills").sum()
    assert report.drift.labels[0].name == "bills" and report.drift.labels[0].now == 1.0
    assert data_report.report(curated, data_report.Earlier("tickets/1", rows)).new_rows == 0
    assert data_report.report(curated, data_report.Earlier("tickets/1", None)).drift is None


def test_rows_that_could_not_be_read_came_in_too(curated):
    path = Path("models/reports/curate.json")
    unreadable = {"rows": 9, "reasons": {"not UTF-8": 9}, "sources": {"desk": 9}}
    path.write_text(json.dumps({**json.loads(path.read_text()), "unreadable": unreadable}))
    report = data_report.report(curated, None)
    assert report.unreadable == 9 and report.sources[0].unreadable == 9
    assert report.next_steps[0].title == "Mend the rows that could not be read"


def test_without_curated_data_it_says_what_to_do(scratch_folder, settings):
    Path("params.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    with pytest.raises(Refused, match="no curated data here yet: make it with `retune run`"):
        data_report.report(params.load(), None)


def test_what_the_probe_forecasts_is_worth_rows_too(curated):
    rows = row_table.read(data_report.CURATED)
    rows.loc[:5, "label"] = ["repairs", "bills", "bills"] * 2  # wrong ones
    titles = {step.title: step.rows for step in data_report._of_vectors(curated, rows, lambda _: None)}
    assert 1 <= titles["Review the labels that are doubtful"] <= 60
    few, lines = rows.head(4), []
    assert [*data_report._of_vectors(curated, few, lines.append)] == [] and "too few" in lines[-1]


def test_the_texts_of_production_are_compared_with_the_rows(curated):
    assert data_report.report(curated, None).production_rows is None
    report = data_report.report(curated, None, prompts=["the strike " * 40] * 50)
    assert report.production_rows == 50 and "strike" in {word.name for word in report.production.words}
    assert report.production.median_length[1] > 400 and report.production.sources == ()
    assert data_report.report(curated, None, prompts=["hello"]).production is None
