"""Means and shares of arms, with intervals that hold at all looks."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from retune.promotion import anytime_means
from retune.promotion.anytime_means import Values


def drawn(seed, count, mean):
    values = np.random.default_rng(seed).normal(mean, 2.0, count)
    return Values(count, float(values.mean()), float(values.var(ddof=1)))


def test_too_few_values_say_nothing():
    few = anytime_means.difference(
        [(drawn(1, 20, 9.0), drawn(2, 5_000, 1.0)), (drawn(3, 500, 5.0), Values(0, 0.0, 0.0))]
    )
    assert anytime_means.evidence_above(few, 0.0) == anytime_means.evidence_below(few, 0.0) == 1.0
    assert anytime_means.difference_interval(few, 0.95) is None
    assert anytime_means.mean_interval(drawn(1, 20, 9.0), 0.95) is None


def test_values_that_are_all_the_same_say_nothing_and_break_nothing():
    same = anytime_means.difference([(Values(500, 3.0, 0.0), Values(500, 3.0, 0.0))])
    assert anytime_means.evidence_above(same, 0.0) == 1.0


def test_a_difference_is_noticed_on_its_side_alone():
    gap = anytime_means.difference([(drawn(1, 400, 5.6), drawn(2, 1_600, 5.0))])
    assert anytime_means.evidence_above(gap, 0.0) > 20
    assert anytime_means.evidence_below(gap, 0.0) < 1
    assert anytime_means.evidence_below(gap, 2.0) > 20
    interval = anytime_means.difference_interval(gap, 0.95)
    assert 0 < interval.low < interval.value < interval.high < 1.3


def test_a_mean_that_drifts_while_the_share_grows_is_no_difference():
    steps = [(drawn(1, 100, 2.0), drawn(2, 1_900, 2.0)), (drawn(3, 1_000, 6.0), drawn(4, 1_000, 6.0))]
    gap = anytime_means.difference(steps)  # pooled: 5.6 against 3.4
    assert abs(gap.value) < 0.3
    assert anytime_means.evidence_above(gap, 0.0) < 20


def test_an_interval_of_a_mean_is_that_of_the_theorem():
    count, alpha = 400, 0.05
    rho = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / 1_000
    half = 3.0 * math.sqrt(2 * (count * rho + 1) / (count**2 * rho) * math.log(math.sqrt(count * rho + 1) / alpha))
    interval = anytime_means.mean_interval(Values(count, 7.0, 9.0), 0.95)
    assert (interval.low, interval.high) == pytest.approx((7.0 - half, 7.0 + half))


@pytest.mark.parametrize(("hits", "count"), [(0, 0), (0, 40), (40, 40), (3, 200)])
def test_an_interval_of_a_share_holds_the_share_and_stays_on_the_scale(hits, count):
    interval = anytime_means.share_interval(hits, count, 0.95)
    assert 0 <= interval.low <= interval.value <= max(interval.high, interval.value) <= 1
    assert (interval.low == 0) == (hits == 0)
    assert (interval.high == 1) == (hits == count)


def test_the_interval_of_a_share_leaves_the_truth_out_at_most_as_often_as_it_says():
    share, count = 0.1, 60
    misses = [not _holds(anytime_means.share_interval(hits, count, 0.95), share) for hits in range(count + 1)]
    assert float(binom.pmf(np.arange(count + 1), count, share) @ np.array(misses)) < 0.05


def _holds(interval, share):
    return interval.low <= share <= interval.high
