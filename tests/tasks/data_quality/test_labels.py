import numpy as np
import pandas as pd
import pytest
import torch

from retune.config import params
from retune.data.label_verdicts import Verdict, digest
from tasks.data_quality import labels
from tests.support.environment import ROOT

CONFIG = params.load(ROOT / "params.yaml").train
TRUTH = np.arange(60) % 3


def near_corners(texts):
    """Stands in for the base: a text lies near the corner of the number that it begins with."""
    draw = np.random.default_rng(3)
    corners = np.array([int(text.split()[0]) for text in texts])
    vectors = np.eye(6)[corners] + draw.normal(size=(len(texts), 6)) * 0.1
    return torch.tensor(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=torch.float32)


@pytest.fixture
def table():
    texts = [f"{label} words of row {row}" for row, label in enumerate(TRUTH)]
    rows = pd.DataFrame(
        {"id": [f"T-{row}" for row in range(60)], "text": texts, "label": [f"queue {label}" for label in TRUTH]}
    )
    rows.loc[4, "label"], rows.loc[11, "label"] = "queue 0", "queue 1"
    return rows


def examine(table, verdicts=()):
    vectors = near_corners(table["text"])
    return labels.examine(table, vectors, CONFIG, {each.id: each for each in verdicts}, lambda _: None)


def test_the_doubtful_rows_are_those_whose_label_is_wrong(table):
    examination = examine(table)
    listed = {each.id: (each.label, each.suggested) for each in examination.doubtful}
    assert listed == {"T-4": ("queue 0", "queue 1"), "T-11": ("queue 1", "queue 2")}
    assert (examination.rows, len(examination.ranked), examination.base) == (60, 60, CONFIG.base.name)
    scores = [each.score for each in examination.ranked]
    assert scores == sorted(scores, reverse=True)


def test_a_row_that_a_person_reviewed_is_not_listed_again_until_it_changes(table):
    confirmed = Verdict("T-4", digest(table["text"][4]), "queue 0", "queue 0", "Ada", "2026-11-30")
    of_another_text = Verdict("T-11", digest("other words"), "queue 1", "queue 1", "Ada", "2026-11-30")
    examination = examine(table, [confirmed, of_another_text])
    assert [each.id for each in examination.doubtful] == ["T-11"]
    assert (examination.reviewed, len(examination.ranked)) == (1, 59)


def test_a_label_of_too_few_rows_is_named_and_not_judged(table):
    table.loc[[0, 3], "label"] = "typo"
    examination = examine(table)
    assert (examination.rows, examination.unjudged) == (58, {"typo": 2})
    assert not {"T-0", "T-3"} & {each.id for each in examination.ranked}
