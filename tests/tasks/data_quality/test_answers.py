import numpy as np
import pandas as pd
import pytest
import torch

from retune.data import messages
from retune.errors import Refused
from tasks.data_quality import answers


def near_corners(texts):
    """Stands in for the encoder: a text lies near the corner of the number that it begins with."""
    corners = np.array([int(text.split()[0]) for text in texts])
    vectors = np.eye(8)[corners] + np.random.default_rng(3).normal(size=(len(texts), 8)) * 0.05
    return torch.tensor(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=torch.float32)


def table(count=60, **columns):
    system = {"role": "system", "content": "7 be kind"}
    texts = [messages.dump([system, {"role": "user", "content": f"{row % 3} ask {row}"}]) for row in range(count)]
    rows = {
        "id": [f"Q-{row}" for row in range(count)],
        "text": texts,
        "label": [f"{row % 3} say" for row in range(count)],
    }
    return pd.DataFrame(rows | columns)


def examine(rows):
    return answers.examine(rows, near_corners, "package:a-base", lambda _: None)


def test_the_doubtful_answers_are_those_of_another_question():
    rows = table()
    rows.loc[[4, 9], "label"] = "6 say"
    examination = examine(rows)
    assert {each.id for each in examination.doubtful} == {"Q-4", "Q-9"}
    first = examination.ranked[0]
    assert (first.text, first.answer) in {("1 ask 4", "6 say"), ("0 ask 9", "6 say")}
    assert len(examination.ranked) == examination.rows == 60 and examination.contradictions == []


def test_rows_that_prefer_what_a_like_row_rejects_are_named():
    rows = table(30, rejected=["5 no"] * 30)
    rows.loc[3, ["label", "rejected"]] = ["5 no", "0 say"]
    pairs = examine(rows).contradictions
    assert pairs and all("Q-3" in (each.id, each.other) for each in pairs)
    assert {each.text.split()[0] for each in pairs} == {"0"}


def test_too_few_rows_are_refused():
    with pytest.raises(Refused, match="19 rows are too few"):
        examine(table(19))
