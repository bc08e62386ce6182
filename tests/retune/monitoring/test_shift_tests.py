import numpy as np
import pytest
from scipy import stats

from retune.monitoring import shift_tests

draw = np.random.default_rng(7)


def labels(*counts):
    return [name for name, count in zip("abcdefgh", counts, strict=False) for _ in range(count)]


def test_labels_of_the_same_shares_are_no_shift_and_a_doubled_one_is():
    same = shift_tests.label_shift(labels(100, 100, 100), labels(101, 99, 100))
    assert same.p > 0.9 and same.effect < 0.001
    doubled = shift_tests.label_shift(labels(100, 100, 100), labels(200, 100, 100))
    assert doubled.p < 0.001
    assert (doubled.before, doubled.now) == ("a 33.3%", "a 50.0%")
    expected = stats.chi2_contingency([[100, 100, 100], [200, 100, 100]], correction=False).pvalue
    assert doubled.p == pytest.approx(expected)


def test_the_stability_index_is_that_of_its_definition():
    test = shift_tests.label_shift(labels(5000, 5000), labels(6000, 4000))
    assert test.effect == pytest.approx(0.1 * np.log(0.6 / 0.5) + 0.1 * np.log(0.5 / 0.4), rel=1e-3)


def test_rare_labels_are_counted_together():
    before, now = labels(200, 2, 1, 2, 2, 1), labels(200, 0, 2, 1, 1, 3)
    assert shift_tests.label_shift(before, now).p == pytest.approx(
        stats.chi2_contingency([[200, 8], [200, 7]], correction=False).pvalue
    )
    assert shift_tests.label_shift(labels(200), labels(300)).p == 1.0


def test_a_label_that_is_new_is_a_shift():
    assert shift_tests.label_shift(labels(100, 100), labels(100, 100, 30)).p < 1e-6


def test_distributions_and_shares_are_told_apart_with_their_size():
    before, now = draw.random(400), np.r_[draw.random(200), draw.random(200) / 2]
    test = shift_tests.distribution("confidence", before, now, 3)
    assert test.p < 0.001 and test.effect == pytest.approx(stats.ks_2samp(before, now).statistic)
    ones = np.arange(400) < 40, np.arange(400) < 80
    test = shift_tests.share("languages", *ones)
    assert test.p == pytest.approx(stats.chi2_contingency([[40, 360], [80, 320]], correction=False).pvalue)
    assert (test.effect, test.before, test.now) == (pytest.approx(0.1), "10.0%", "20.0%")
    none = np.zeros(200, dtype=bool)
    assert shift_tests.share("languages", none, none).p == 1.0


def test_a_topic_among_the_vectors_is_seen_and_the_same_texts_are_not():
    rows = draw.standard_normal((700, 32)).astype(np.float32)
    same = shift_tests.vectors(rows[:400], rows[400:])
    assert 0.05 < same.p <= 1
    topic = rows[400:].copy()
    topic[:60] = 1.5 + rows[:60] / 4
    moved = shift_tests.vectors(rows[:400], topic)
    assert moved.p == pytest.approx(1 / (shift_tests.PERMUTATIONS + 1))
    assert moved == shift_tests.vectors(rows[:400], topic), "the same bits each time"


def test_the_discrepancy_is_that_of_its_definition():
    rows = draw.standard_normal((9, 3)).astype(np.float32)
    kernel = shift_tests._kernel(rows)
    side = np.r_[np.ones(4), np.zeros(5)].astype(np.float32)[:, None]
    pairs = [
        [kernel[i, j] for i in one for j in other if i != j]
        for one, other in ((range(4), range(4)), (range(4, 9), range(4, 9)), (range(4), range(4, 9)))
    ]
    expected = np.mean(pairs[0]) + np.mean(pairs[1]) - 2 * np.mean(pairs[2])
    assert shift_tests._discrepancies(kernel, side, 4)[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "test",
    [
        lambda: shift_tests.label_shift(labels(99), labels(500)),
        lambda: shift_tests.distribution("length", np.ones(500), np.ones(99), 0),
        lambda: shift_tests.share("languages", np.ones(99, dtype=bool), np.ones(500, dtype=bool)),
        lambda: shift_tests.vectors(np.ones((500, 2)), np.ones((99, 2))),
    ],
)
def test_too_few_texts_are_said_and_give_no_number(test):
    result = test()
    assert result.p is None and result.effect is None
    assert "99" in result.lacks and "100 needed" in result.lacks


def test_adjusted_values_are_those_of_scipy():
    values = [0.01, 0.04, 0.03, 0.5, 0.002]
    assert shift_tests.benjamini_hochberg(values) == pytest.approx(stats.false_discovery_control(values))
    assert shift_tests.benjamini_hochberg([]) == []
