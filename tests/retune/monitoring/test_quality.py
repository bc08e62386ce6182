from functools import partial

import numpy as np
import pytest
from scipy import stats

from retune.monitoring import quality
from retune.serving.feedback import Review

draw = np.random.default_rng(5)


def right(of, share):
    return np.arange(of) < round(of * share)


def fall(before, now):
    return quality.fall(partial(quality.measured, before), partial(quality.measured, now))


def test_measured_accuracy_has_the_interval_of_wilson():
    share = quality.measured(right(200, 0.9))
    expected = stats.binomtest(180, 200).proportion_ci(method="wilson")
    assert (share.n, share.value) == (200, 0.9)
    assert (share.low, share.high) == pytest.approx((expected.low, expected.high))
    assert quality.measured(right(300, 1.0)).high == pytest.approx(1.0)


def test_fewer_labels_than_needed_give_no_number():
    assert quality.measured(right(49, 1.0)) == quality.Share(49)
    assert quality.estimated(np.ones(49)) == quality.Share(49)
    assert not fall(right(500, 0.9), right(49, 0.1)).is_sure
    assert not quality.fall_of_mean(np.ones(49), np.zeros(500)).is_sure


def test_the_threshold_is_exceeded_by_as_many_test_rows_as_are_right():
    confidence = draw.random(1000)
    is_right = draw.random(1000) < confidence
    threshold = quality.atc_threshold(confidence, is_right)
    assert quality.estimated_by_threshold(confidence, threshold).value == pytest.approx(is_right.mean())
    assert quality.estimated_by_threshold(confidence, quality.atc_threshold(confidence, np.ones(1000))).value == 1.0


def test_estimates_follow_a_shift_to_harder_texts():
    easy, hard = draw.beta(9, 1, 5000), draw.beta(4, 2, 5000)
    truth = draw.random(5000) < hard
    threshold = quality.atc_threshold(easy, draw.random(5000) < easy)
    assert quality.estimated(hard).value == pytest.approx(truth.mean(), abs=0.02)
    assert quality.estimated_by_threshold(hard, threshold).value < 0.9


def test_a_fall_is_sure_only_beyond_chance():
    assert fall(right(300, 0.95), right(300, 0.85)).is_sure
    assert not fall(right(300, 0.95), right(300, 0.92)).is_sure
    assert not fall(right(300, 0.85), right(300, 0.95)).is_sure
    before, now = draw.beta(9, 1, 400), draw.beta(8, 1.2, 400)
    assert quality.fall_of_mean(before, now).is_sure
    assert not quality.fall_of_mean(now, before).is_sure


def test_equal_quality_is_a_sure_fall_in_about_one_of_a_hundred():
    falls = [fall(draw.random(300) < 0.9, draw.random(300) < 0.9).is_sure for _ in range(600)]
    assert np.mean(falls) < 0.025


def test_what_reviewers_say_counts_by_the_chance_that_they_were_asked():
    def review(number, verdict, chance):
        return Review(f"r{number}", 0, "desk", "s", 0.0, 0.0, chance, "a", "", verdict)

    wrong = [review(number, "wrong", 1.0) for number in range(30)]  # all that looked doubtful
    others = [review(number, "right", 0.1) for number in range(30)]  # one in ten of the rest
    share = quality.reviewed([*wrong, *others, review(99, "wrong", None), review(98, "unusable", 1.0)])
    assert (share.n, share.value) == (60, pytest.approx(300 / 330))
    assert quality.reviewed(wrong).value is None, "too few"
