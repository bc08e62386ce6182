import numpy as np
import pandas as pd
import pytest
import torch

from retune.config import params
from retune.errors import Refused
from retune.evaluation.sufficiency import Gain
from tasks.data_quality import sufficiency
from tests.support.environment import ROOT

CONFIG = params.load(ROOT / "params.yaml").train


def test_a_label_needs_as_many_rows_as_it_has_or_none():
    need = sufficiency._need("refunds", 192, Gain(0.8, 0.86, 0.02, 0.09))
    assert (need.collect, need.verdict) == (200, "collect 200 more of refunds")
    need = sufficiency._need("refunds", 192, Gain(0.8, 0.801, 0.0, 0.01))
    assert (need.collect, need.verdict) == (0, "enough")


def test_the_curve_and_the_need_of_each_label_are_told():
    labels = ["a", "b"] * 40 + ["typo"] * 3
    rows = pd.DataFrame({"id": map(str, range(83)), "text": labels, "label": labels})
    corners = 3 * np.array([text[0] == "a" for text in labels])
    vectors = torch.tensor(np.random.default_rng(3).normal(size=(83, 3)) + corners[:, None], dtype=torch.float32)
    result = sufficiency.examine(rows, vectors, CONFIG, lambda _: None)
    assert (result.rows, result.labels, result.unjudged) == (80, 2, {"typo": 3})
    assert [point.rows for point in result.curve][-1] == 70 and result.doubled.rows == 140
    assert {need.label for need in result.by_label} == {"a", "b"}
    with pytest.raises(Refused, match="too few"):
        sufficiency.examine(rows.tail(3), vectors[-3:], CONFIG, lambda _: None)
