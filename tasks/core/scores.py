"""What a number is worth: scores from counts, their intervals, and paired comparison. NumPy only.

`tasks.core.metrics` says what each score means to `evaluate`; the arithmetic that is done thousands of times
in a bootstrap is here. Truth and predictions are arrays of label numbers, 0 to labels - 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Score = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Interval:
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """The gain of one model over another on the same rows."""

    gain: float
    low: float
    high: float
    confidence: float  # share of resamples in which the gain is larger than the margin
    rows: int


def accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.mean(truth == predicted))


def macro_f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    """The mean F1 of the labels that occur in `truth`; a label that is never right has F1 0."""
    size = int(max(truth.max(), predicted.max())) + 1
    support = np.bincount(truth, minlength=size)
    guessed = np.bincount(predicted, minlength=size)
    right = np.bincount(truth[truth == predicted], minlength=size)
    present = support > 0
    return float(np.mean(2 * right[present] / (support[present] + guessed[present])))


SCORES: dict[str, Score] = {"accuracy": accuracy, "macro_f1": macro_f1}


def calibration_error(right: np.ndarray, confidence: np.ndarray, bins: int) -> float:
    """Expected calibration error, equal-width bins (Guo et al. 2017, On Calibration of Modern Neural Networks, 2).

    right: [rows] of bool. The mean distance of confidence and accuracy, weighted by the rows of each bin.
    """
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(which, weights=right - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(right))


def resamples(rows: int, times: int, seed: int) -> np.ndarray:
    """[times, rows] row numbers drawn with replacement; one seed, one draw, whatever is scored with it."""
    return np.random.default_rng(seed).integers(rows, size=(times, rows), dtype=np.int32)


def interval(score: Callable[[np.ndarray], float], draws: np.ndarray, confidence: float) -> Interval:
    """Percentile bootstrap interval (Efron & Tibshirani 1993, 13.3) of `score`, a function of row numbers."""
    low, high = np.quantile([score(rows) for rows in draws], _tails(confidence))
    return Interval(score(np.arange(draws.shape[1])), float(low), float(high))


def compare(
    score: Score,
    truth: np.ndarray,
    ours: np.ndarray,
    theirs: np.ndarray,
    margin: float,
    draws: np.ndarray,
    confidence: float,
) -> Comparison:
    """Paired bootstrap: both models on the same resampled rows (Koehn 2004, section 3.3)."""
    gains = np.array([score(truth[rows], ours[rows]) - score(truth[rows], theirs[rows]) for rows in draws])
    low, high = np.quantile(gains, _tails(confidence))
    return Comparison(
        gain=score(truth, ours) - score(truth, theirs),
        low=float(low),
        high=float(high),
        confidence=float(np.mean(gains > margin)),
        rows=len(truth),
    )


def _tails(confidence: float) -> tuple[float, float]:
    return (1 - confidence) / 2, (1 + confidence) / 2
