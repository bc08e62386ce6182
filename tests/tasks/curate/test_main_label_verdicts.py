"""What people said of labels lies over the records: curate applies it to the very text and label that they saw."""

import json
from dataclasses import replace
from pathlib import Path

from retune.data import label_verdicts, row_table
from retune.data.label_verdicts import Verdict, digest
from tasks.curate.__main__ import main
from tests.support.curation import LENIENT, PATHS, curate, rows


def verdict(name, text, before, after):
    return Verdict(name, digest(text), before, after, "Ada", "2026-11-30")


def curated_with(table, *verdicts, config=LENIENT):
    accepted, rejects = curate(table, config, verdicts={each.id: each for each in verdicts})
    labels = dict(zip(accepted["id"], accepted["label"], strict=True))
    return labels, rejects[["id", "label", "reason", "detail"]].to_numpy().tolist()


def test_a_row_gets_the_label_of_the_verdict_and_is_dropped_with_a_reason_of_its_own():
    table = rows(("1", " my  money ", "billing"), ("2", "asdf", "billing"), ("3", "hello", "billing"))
    verdicts = verdict("1", "my money", "billing", "refunds"), verdict("2", "asdf", "billing", None)
    labels, rejects = curated_with(table, *verdicts)
    assert labels == {"1": "refunds", "3": "billing"}
    assert rejects == [["2", "billing", "dropped_by_review", "Ada, 2026-11-30"]]


def test_a_verdict_on_another_text_or_label_changes_nothing():
    table = rows(("1", "my money!", "billing"), ("2", "asdf", "other"))
    verdicts = verdict("1", "my money", "billing", "refunds"), verdict("2", "asdf", "billing", None)
    assert curated_with(table, *verdicts) == ({"1": "billing", "2": "other"}, [])


def test_a_test_row_is_relabelled_by_the_text_as_it_came():
    table = rows(("1", " my  money ", "billing", "test"), ("2", "I am ann@example.org ", "a", "test"))
    verdicts = verdict("1", " my  money ", "billing", "refunds"), verdict("2", "I am <EMAIL_1>", "a", "b")
    assert curated_with(table, *verdicts)[0] == {"1": "refunds", "2": "b"}


def test_labels_are_merged_before_and_after_the_verdict():
    config = replace(LENIENT, merge_labels={"Billing.": "billing", "refund": "refunds"})
    table = rows(("1", "my money", "Billing."))
    assert curated_with(table, verdict("1", "my money", "billing", "refund"), config=config)[0] == {"1": "refunds"}


def test_a_row_that_a_verdict_sets_right_contradicts_no_other():
    table = rows(("1", "my money", "billing"), ("2", "my money", "refunds"))
    labels, rejects = curated_with(table, verdict("1", "my money", "billing", "refunds"))
    assert (labels, rejects) == ({"1": "refunds"}, [["2", "refunds", "exact_copy", "1"]])


def test_the_report_counts_verdicts_and_those_that_do_not_apply_are_told(stage_folder, capsys):
    table = rows(*((str(n), f"text {n}", "a") for n in range(20)))
    row_table.write(table, Path("raw/000.parquet"))
    verdicts = [verdict("1", "text 1", "a", "a"), verdict("2", "text 2", "a", None), verdict("3", "old text", "a", "b")]
    label_verdicts.write(verdicts, Path("label_verdicts.json"))
    main(*PATHS)
    report = json.loads(PATHS[-1].read_text("utf-8"))["label_verdicts"]
    assert report == {"rows": 3, "relabelled": 0, "confirmed": 1, "dropped": 1, "changed_since": ["3"]}
    assert "1 verdict on labels does not apply, as text or label changed after the review: 3" in capsys.readouterr().out
