import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from retune.evaluation import membership

MEMBERS = np.arange(200) < 100


def test_the_area_is_that_of_scikit_learn_with_ties_and_lies_in_its_interval():
    values = np.random.default_rng(1).integers(0, 9, 200) + MEMBERS
    area = membership.auc(values.astype(float), MEMBERS, 0.95)
    assert area.value == pytest.approx(roc_auc_score(MEMBERS, values))
    assert 0 < area.low < area.value < area.high < 1


def test_a_model_that_memorised_its_rows_is_caught_and_one_that_did_not_is_not():
    difficulty = np.random.default_rng(2).normal(0, 3, 200)
    honest = difficulty + np.random.default_rng(3).normal(0, 0.5, 200)
    by_heart = honest + 2 * MEMBERS
    for values, is_caught in ((by_heart, True), (honest, False)):
        above = membership.beyond_difficulty(values, difficulty, ~MEMBERS)
        assert (membership.auc(above, MEMBERS, 0.95).low > 0.9) == is_caught
    assert membership.auc(by_heart, MEMBERS, 0.95).value < 0.8, "without the difficulty it is hidden"


def test_an_area_of_1_has_a_width_too_and_rows_of_one_kind_have_no_area():
    area = membership.auc(MEMBERS.astype(float), MEMBERS, 0.95)
    assert area.value == area.high == 1.0 and 0.9 < area.low < 1.0
    assert membership.auc(np.ones(3), np.ones(3, bool), 0.95) is None
    assert membership.auc(np.zeros(2), np.array([True, False]), 0.95).value == 0.5


def test_the_certainty_of_a_sure_answer_is_finite():
    assert np.isfinite(membership.certainty(np.array([0.0, 0.5, 1.0]))).all()
