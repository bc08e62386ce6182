import numpy as np
import pytest

from retune.evaluation import temperature


def logits_and_labels(rows=4000, labels=4, seed=1):
    """Logits whose softmax is the true distribution of the labels."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, 2, (rows, labels))
    probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = (draw.random((rows, 1)) > probability.cumsum(1)).sum(1)
    return logits, truth


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_logits_that_are_too_large_by_a_factor_have_that_factor_as_temperature(factor):
    logits, truth = logits_and_labels()
    assert temperature.fit(logits * factor, truth, 1.0) == pytest.approx(factor, rel=0.06)


def test_rows_without_a_mistake_do_not_ask_for_certainty():
    logits = np.eye(3)[np.arange(60) % 3] * 2
    degrees = temperature.fit(logits, np.arange(60) % 3, 1.0)
    confidence = 1 / (1 + 2 * np.exp(-2 / degrees))
    assert 0.95 < confidence < 0.999


@pytest.mark.parametrize("rows", [0, 1, temperature.FEWEST - 1])
def test_too_few_rows_leave_the_temperature_as_it_was(rows):
    logits, truth = logits_and_labels(rows)
    assert temperature.fit(logits, truth, 1.7) == 1.7


def test_one_label_and_broken_numbers_leave_the_temperature_as_it_was():
    assert temperature.fit(np.zeros((50, 1)), np.zeros(50, int), 1.0) == 1.0
    assert temperature.fit(np.full((50, 2), np.nan), np.zeros(50, int), 1.0) == 1.0


def test_a_model_that_is_always_wrong_gets_the_highest_temperature_and_no_more():
    assert temperature.fit(np.eye(3)[np.arange(60) % 3] * 9, (np.arange(60) + 1) % 3, 1.0) <= temperature.HIGH
