"""The comparison of two error rates that may be looked at all the time."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binom, nchypergeom_fisher

from retune.promotion import anytime
from retune.promotion.anytime import Block


def test_the_likelihood_of_a_block_is_fishers():
    odds = np.log([0.3, 1.0, 2.5])
    at = anytime.log_likelihood([Block(7, 3, 20, 4)], odds)
    assert at == pytest.approx([nchypergeom_fisher.logpmf(3, 27, 7, 7, ratio) for ratio in (0.3, 1.0, 2.5)])


@pytest.mark.parametrize(("candidate", "champion"), [(1, 9), (5, 5), (12, 3)])
@pytest.mark.parametrize("rate", [0.02, 0.3, 0.9])
def test_a_candidate_that_is_no_worse_has_evidence_of_one_on_average_however_unequal_the_arms(
    candidate, champion, rate
):
    mean = sum(
        binom.pmf(wrong, candidate, rate)
        * binom.pmf(others, champion, rate)
        * anytime.evidence_worse([Block(candidate, wrong, champion, others)])
        for wrong, others in itertools.product(range(candidate + 1), range(champion + 1))
    )
    assert mean == pytest.approx(1.0)


def test_a_better_candidate_has_less_than_that_and_one_at_the_margin_one_of_being_no_worse():
    odds = 1.5 * 0.2 / 0.8
    rates = odds / (1 + odds), 0.2

    def mean(evidence):
        return sum(
            binom.pmf(wrong, 6, rates[0]) * binom.pmf(others, 4, rates[1]) * evidence([Block(6, wrong, 4, others)])
            for wrong, others in itertools.product(range(7), range(5))
        )

    assert mean(lambda blocks: anytime.evidence_no_worse(blocks, 1.5)) == pytest.approx(1.0)
    assert mean(lambda blocks: anytime.evidence_worse(blocks, 1.5)) == pytest.approx(1.0)
    assert mean(lambda blocks: anytime.evidence_worse(blocks, 3.0)) < 0.95


def test_a_rate_that_drifts_while_the_share_grows_is_no_difference():
    blocks = [Block(10, 0, 990, 10), Block(500, 50, 500, 50)]  # pooled: 10% against 4%
    assert anytime.evidence_worse(blocks) < 1
    assert anytime.evidence_worse([Block(510, 50, 1490, 60)]) > 20


def test_blocks_of_one_arm_or_without_an_error_say_nothing():
    blocks = [Block(0, 0, 50, 3), Block(20, 5, 0, 0), Block(30, 0, 70, 0), Block(0, 0, 0, 0)]
    assert anytime.evidence_worse(blocks) == anytime.evidence_no_worse(blocks, 1.5) == pytest.approx(1.0)
    interval = anytime.odds_interval(blocks, 0.95)
    assert (interval.low, interval.value, interval.high) == (0.0, 1.0, math.inf)


def test_a_doubled_rate_is_noticed_and_its_interval_leaves_out_one():
    blocks = [Block(25, 1, 25, 0), Block(25, 1, 25, 1)] * 40
    assert anytime.evidence_worse(blocks) > 20
    assert anytime.evidence_no_worse(blocks, 1.5) < 1
    interval = anytime.odds_interval(blocks, 0.95)
    assert interval.value == pytest.approx(2.03, abs=0.05)
    assert 1 < interval.low < interval.value < interval.high < 4.5


def test_pairs_are_the_sign_test_by_a_beta_binomial_mixture():
    # Of 8 requests on which one arm alone was wrong the candidate was on 7: the exact integral over a uniform share.
    shares = np.linspace(0.5, 1, 100_001)[:-1]
    exact = float(np.mean((2 * shares) ** 7 * (2 * (1 - shares))))
    assert anytime.evidence_worse(anytime.paired(7, 1), shape=anytime.PAIRED) == pytest.approx(exact, rel=1e-3)


def test_evidence_beyond_a_float_stays_a_number():
    assert math.isfinite(anytime.evidence_worse([Block(10_000, 5_000, 10_000, 100)] * 3))
