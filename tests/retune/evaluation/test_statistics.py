import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from retune.evaluation import statistics

LABELS = st.integers(0, 6)
PAIRS = st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=60)


def sides(pairs):
    truth, predicted = zip(*pairs, strict=True)
    return np.array(truth), np.array(predicted)


def some(rows=200, wrong=0.3, seed=0):
    draw = np.random.default_rng(seed)
    truth = draw.integers(4, size=rows)
    return truth, np.where(draw.random(rows) < wrong, draw.integers(4, size=rows), truth)


@given(PAIRS)
def test_macro_f1_is_that_of_scikit_learn_over_the_labels_in_the_truth(pairs):
    truth, predicted = sides(pairs)
    reference = f1_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0)
    assert statistics.macro_f1(truth, predicted) == pytest.approx(reference, abs=1e-12)


def test_macro_f1_by_hand():
    truth, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 2, 2])
    assert statistics.macro_f1(truth, predicted) == pytest.approx((0.8 + 0.0) / 2)
    assert statistics.accuracy(truth, predicted) == 0.5


def test_calibration_error_by_hand():
    """Bins (0, .5] and (.5, 1]: one row of confidence 0.4, right; two of 0.9 and 0.7, one right."""
    right, confidence = np.array([True, True, False]), np.array([0.4, 0.9, 0.7])
    assert statistics.calibration_error(right, confidence, 2) == pytest.approx((1 * 0.6 + 2 * abs(0.5 - 0.8)) / 3)


def test_a_confidence_on_the_edge_of_a_bin_is_in_the_lower_one():
    """0.5 of two bins counts with 0.1, not with 0.9: their errors of -0.5 and 0.1 + 0.5 add up before the modulus."""
    right, confidence = np.array([False, True, True]), np.array([0.5, 0.1, 0.9])
    assert statistics.calibration_error(right, confidence, 2) == pytest.approx((abs(-0.5 + 0.9) + 0.1) / 3)
    assert statistics.calibration_error(np.array([True]), np.array([1.0]), 15) == 0
    assert statistics.calibration_error(np.array([True]), np.array([0.0]), 15) == 1


@settings(max_examples=30, deadline=None)
@given(PAIRS, st.integers(0, 100), st.sampled_from(sorted(statistics.SCORES)))
def test_an_interval_lies_in_0_to_1_and_holds_the_score_of_all_rows(pairs, seed, name):
    truth, predicted = sides(pairs)
    draws = statistics.resamples(len(truth), 100, seed)
    interval = statistics.interval(lambda rows: statistics.SCORES[name](truth[rows], predicted[rows]), draws, 0.95)
    assert interval.value == statistics.SCORES[name](truth, predicted)
    assert 0 <= interval.low <= interval.high <= 1


@pytest.mark.parametrize("name", statistics.SCORES)
def test_an_interval_holds_the_point_and_shrinks_with_the_rows(name):
    widths = []
    for rows in (50, 500, 5000):
        truth, predicted = some(rows)
        draws = statistics.resamples(rows, 300, 1)
        interval = statistics.interval(
            lambda at, t=truth, p=predicted: statistics.SCORES[name](t[at], p[at]), draws, 0.95
        )
        assert interval.low <= interval.value <= interval.high
        widths.append(interval.high - interval.low)
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


def test_more_confidence_asks_for_a_wider_interval():
    truth, predicted = some()
    draws = statistics.resamples(len(truth), 500, 1)
    narrow, wide = (
        statistics.interval(lambda at: statistics.accuracy(truth[at], predicted[at]), draws, c) for c in (0.8, 0.99)
    )
    assert wide.low < narrow.low < narrow.high < wide.high


def test_one_seed_is_one_draw():
    assert np.array_equal(statistics.resamples(50, 20, 3), statistics.resamples(50, 20, 3))
    assert not np.array_equal(statistics.resamples(50, 20, 3), statistics.resamples(50, 20, 4))
    assert set(np.unique(statistics.resamples(5, 200, 3))) == set(range(5))


def against(candidate, champion, truth, margin=0.0):
    differ = (truth == candidate) != (truth == champion)
    pair = statistics.Pair(statistics.accuracy, truth, candidate, champion, differ)
    return statistics.compare(pair, margin, statistics.resamples(len(truth), 300, 1), 0.95)


def test_a_tie_is_no_gain_and_no_confidence():
    truth, predicted = some()
    comparison = against(predicted, predicted.copy(), truth)
    assert (comparison.gain, comparison.low, comparison.high, comparison.confidence) == (0, 0, 0, 0)


def test_a_much_better_model_is_better_in_every_resample_and_a_worse_one_in_none():
    truth, predicted = some(wrong=0.6)
    better, worse = against(truth, predicted, truth), against(predicted, truth, truth)
    assert (better.confidence, worse.confidence) == (1.0, 0.0)
    assert better.gain == -worse.gain == pytest.approx(1 - statistics.accuracy(truth, predicted))
    assert better.low > 0


def test_a_gain_below_the_margin_earns_no_confidence():
    truth, predicted = some(wrong=0.1)
    comparison = against(truth, predicted, truth)
    assert against(truth, predicted, truth, margin=comparison.high + 0.05).confidence == 0
    assert 0.3 < against(truth, predicted, truth, margin=comparison.gain).confidence < 0.7


def test_pairing_sees_a_small_gain_that_two_separate_intervals_would_not():
    truth, champion = some(rows=1000, wrong=0.3)
    ours = champion.copy()
    ours[np.flatnonzero(ours != truth)[:15]] = truth[np.flatnonzero(ours != truth)[:15]]
    assert against(ours, champion, truth).confidence > 0.99
