import dataclasses
import re

import pytest

from retune.data import task_data
from retune.data.drift import Drift, ShareChange
from retune.documents import data_report
from retune.documents.data_report import DataReport, Dropped, Example, LengthBin, NextStep, Source

REPORT = DataReport(
    task="classify",
    received=100,
    kept=90,
    unreadable=2,
    sources=(Source("desk <b>", 100, 90, 2),),
    dropped=(
        Dropped("exact_copy", "equals an earlier row with the same answer", 10, (Example("T-1", "<i>hi", "T-0"),)),
    ),
    personal={"email": 3},
    personal_rows=2,
    labels={"bills": {"train": 50, "val": 5, "test": 5}, "parcels": {"train": 20, "val": 5, "test": 5}},
    splits={"train": 70, "val": 10, "test": 10},
    lengths=(LengthBin(2, 11, 80), LengthBin(11, 40, 10)),
    warnings=("a warning",),
    champion="tickets/3",
    drift=Drift(80, 40, (ShareChange("bills", 0.5, 0.75, 4.2),), (), (), (20.0, 22.5), 0.25),
    new_rows=40,
    production=Drift(90, 50, (), (), (ShareChange("strike", 0.0, 0.5, 6.1),), (20.0, 200.0), 0.0),
    production_rows=50,
    next_steps=(NextStep("Mend the rows that could not be read", 2, "By reason: not UTF-8 2."),),
)


def test_the_page_says_what_came_what_became_of_it_and_what_to_do():
    page = " ".join(data_report.page(REPORT).split())
    for words in (
        "90 of 102 rows are kept",
        "Mend the rows that could not be read",
        "about 2 rows",
        "equals an earlier row with the same answer",
        '<td class="name">email</td>',
        "40 new rows against 80 that tickets/3 was made from",
        "a warning",
        "50 texts of production against 90 curated rows",
        "strike",
        "train 50, validation 5, test 5",
        "11 to 39 characters: 10 rows",
    ):
        assert words in page


def test_text_of_the_data_cannot_write_into_the_page():
    page = data_report.page(REPORT)
    assert "&lt;i&gt;hi" in page and "<i>hi" not in page and "desk &lt;b&gt;" in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page), "the page asks for nothing"


@pytest.mark.parametrize(
    ("new_rows", "drift", "words"),
    [
        (None, None, "There is no champion"),
        (3, None, "3 rows are new since tickets/3: too few to compare"),
        (40, Drift(80, 40, (), (), (), (20.0, 20.0), 0.0), "No label, source or word has another share"),
    ],
)
def test_without_drift_it_says_why(new_rows, drift, words):
    assert words in data_report.page(dataclasses.replace(REPORT, new_rows=new_rows, drift=drift))


def test_an_empty_table_makes_a_page_too():
    empty = dataclasses.replace(
        REPORT, received=0, kept=0, unreadable=0, sources=(), dropped=(), personal={}, labels={}, lengths=(), splits={}
    )
    assert "No row was dropped" in data_report.page(dataclasses.replace(empty, next_steps=()))


def test_the_most_useful_steps_are_those_of_most_rows():
    steps = [NextStep(title, rows, "") for title, rows in (("b", 5), ("a", 5), ("c", 0), ("d", 9), ("e", 1))]
    assert [step.title for step in data_report.most_useful(steps)] == ["d", "a", "b"]


@pytest.mark.parametrize("task", task_data.TASKS)
def test_every_reason_of_a_reject_has_a_meaning(task):
    assert set(task_data.of(task).curation) <= data_report.MEANINGS.keys()


def test_a_message_says_what_the_data_did_in_a_sentence():
    assert data_report.in_a_sentence(REPORT) == (
        "90 of 102 rows kept; 10 dropped (10 exact_copy); 2 unreadable; 3 values of personal data replaced; "
        "drift of labels bills"
    )
    quiet = dataclasses.replace(REPORT, kept=100, dropped=(), unreadable=0, personal={}, drift=None)
    assert data_report.in_a_sentence(quiet) == "100 of 100 rows kept"
