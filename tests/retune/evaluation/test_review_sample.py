"""The rows that people look at: drawn where they tell most, and an estimate that is not bent by it."""

import numpy as np
import pytest

from retune.evaluation import review_sample

ROWS = np.random.default_rng(5)
CONFIDENCE = ROWS.uniform(0.4, 1, 300)
DIFFERS, IS_NEW = ROWS.random(300) < 0.15, ROWS.random(300) < 0.3
RIGHT = ROWS.random(300) < CONFIDENCE - 0.3 * DIFFERS  # wrong mostly where rows are drawn
CHANCES = review_sample.chances(review_sample.weights(DIFFERS, CONFIDENCE, IS_NEW), 60)


def test_over_many_draws_the_estimate_is_the_truth_where_the_plain_share_is_not():
    values, plain, covers = [], [], 0
    for seed in range(2000):
        drawn = review_sample.draw(CHANCES, seed)
        estimate = review_sample.estimate(RIGHT[drawn], CHANCES[drawn], 0.95)
        values.append(estimate.value)
        plain.append(RIGHT[drawn].mean())
        covers += estimate.low <= RIGHT.mean() <= estimate.high
    noise = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values) - RIGHT.mean()) < 4 * noise + 0.003  # a ratio is bent by 1 / rows drawn
    assert abs(np.mean(plain) - RIGHT.mean()) > 0.05
    assert covers / 2000 > 0.92


def test_each_row_is_drawn_with_its_chance_and_as_many_as_asked():
    counts = np.zeros(len(CHANCES))
    for seed in range(2000):
        drawn = review_sample.draw(CHANCES, seed)
        assert len(drawn) == 60
        counts[drawn] += 1
    deviation = np.sqrt(CHANCES * (1 - CHANCES) / 2000)
    assert np.all(np.abs(counts / 2000 - CHANCES) < 5 * deviation + 1e-9)


def test_rows_that_differ_are_unsure_or_new_are_likelier():
    sure = np.array([0.99, 0.99, 0.6, 0.99])
    chances = review_sample.chances(
        review_sample.weights(np.array([0, 1, 0, 0], bool), sure, np.array([0, 0, 0, 1], bool)), 1
    )
    assert chances.sum() == pytest.approx(1) and chances.argmin() == 0 and chances.argmax() == 1


def test_no_chance_is_above_one_and_all_rows_are_drawn_where_more_are_asked_for():
    chances = review_sample.chances(np.array([100.0, 1, 1, 1]), 2)
    assert chances.tolist() == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3])
    assert review_sample.draw(review_sample.chances(np.ones(3), 9), 17).tolist() == [0, 1, 2]
    everything = review_sample.estimate(np.array([True, False, True]), np.ones(3), 0.95)
    assert everything.value == pytest.approx(2 / 3)


def test_one_row_gives_no_interval_and_rows_that_agree_give_no_certainty():
    assert review_sample.estimate(np.array([True]), np.ones(1), 0.95) is None
    six_of_six = review_sample.estimate(np.ones(6, bool), np.full(6, 0.5), 0.95)
    assert (six_of_six.low, six_of_six.high) == (pytest.approx(0.541, abs=0.001), 1.0), "as Clopper and Pearson"
    all_right = review_sample.estimate(np.ones(10, bool), np.full(10, 0.1), 0.95)
    assert all_right.value == all_right.high == 1 and all_right.low < 0.95
