"""Scores, their bootstrap intervals, and paired comparison of two models. NumPy only.

`retune.evaluation.label_metrics` hands these functions to `evaluate`. Truth and predictions are arrays of label
numbers, 0 to labels - 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

Score = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Pair:
    """Two models on the same rows. `score` takes the truth and the values of one model."""

    score: Score
    truth: np.ndarray  # [rows]
    candidate: np.ndarray  # [rows] or, of a corpus score, [rows, counts]
    rival: np.ndarray
    differs: np.ndarray  # [rows] of bool: one of the two is better


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
    share_below_zero: float  # of the resamples, by their gain
    standard_error: float  # of the gain, from the resamples
    discordant: int  # rows on which one of the two is better


@dataclass(frozen=True)
class Loss:
    """How much lower the share of right rows is than the rival's, on a part of the rows."""

    rows: int
    value: float  # above zero: worse than the rival
    confidence: float  # share of resamples in which the loss is larger than the limit
    discordant: int  # rows on which one of the two is right


def accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.mean(truth == predicted))


def log_likelihood(tokens: np.ndarray, nll: np.ndarray) -> float:
    """Mean log-probability of a token, in nats. tokens, nll: [rows] sums over the supervised tokens of each row."""
    return float(-nll.sum() / tokens.sum())


def perplexity(tokens: np.ndarray, nll: np.ndarray) -> float:
    """e to the mean negative log-likelihood of a token; infinite if that exceeds a float."""
    nats = -log_likelihood(tokens, nll)
    return math.exp(nats) if nats < 700 else math.inf


def mean(weights: np.ndarray, values: np.ndarray) -> float:
    return float(np.average(values, weights=weights))


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
    """[times, rows] row numbers drawn with replacement; the same seed gives the same draw for every score."""
    return np.random.default_rng(seed).integers(rows, size=(times, rows), dtype=np.int32)


def interval(score: Callable[[np.ndarray], float], draws: np.ndarray, confidence: float) -> Interval:
    """Percentile bootstrap interval (Efron & Tibshirani 1993, 13.3) of `score`, a function of row numbers."""
    low, high = np.quantile([score(rows) for rows in draws], _tails(confidence))
    return Interval(score(np.arange(draws.shape[1])), float(low), float(high))


def compare(pair: Pair, margin: float, draws: np.ndarray, confidence: float) -> Comparison:
    """Paired bootstrap: both models on the same resampled rows (Koehn 2004, section 3.3).

    draws: [times, rows] of `resamples`.
    """

    def gain(rows: np.ndarray | slice) -> float:
        truth = pair.truth[rows]
        return pair.score(truth, pair.candidate[rows]) - pair.score(truth, pair.rival[rows])

    gains = np.array([gain(rows) for rows in draws])
    low, high = np.quantile(gains, _tails(confidence))
    return Comparison(
        gain=gain(slice(None)),
        low=float(low),
        high=float(high),
        confidence=float(np.mean(gains > margin)),
        rows=len(pair.truth),
        share_below_zero=float(np.mean(gains < 0)),
        standard_error=float(np.std(gains)),
        discordant=int(np.sum(pair.differs)),
    )


def loss(candidate: np.ndarray, rival: np.ndarray, limit: float, times: int, seed: int) -> Loss:
    """Paired bootstrap of the loss in right rows. candidate, rival: [rows] of bool, whether each model is right.

    A row is lost, won or neither, so resampling rows equals drawing three counts from a multinomial: fast enough for
    many labels.
    """
    rows, newly_wrong, won = len(candidate), int(np.sum(rival & ~candidate)), int(np.sum(candidate & ~rival))
    shares = np.array([newly_wrong, won, rows - newly_wrong - won]) / rows
    counts = np.random.default_rng(seed).multinomial(rows, shares, size=times)
    losses = (counts[:, 0] - counts[:, 1]) / rows
    return Loss(rows, (newly_wrong - won) / rows, float(np.mean(losses > limit + 1e-12)), newly_wrong + won)


def min_discordant_rows(confidence: float) -> int:
    """The fewest discordant rows that can be significant: n rows favour one model by chance in 1 of 2^n cases.

    The exact sign test of McNemar (1947). A bootstrap of three rows that agree is 100% sure, wrongly.
    """
    return math.ceil(math.log2(1 / (1 - confidence)) - 1e-9)


def required_sample_size(comparison: Comparison, difference: float, confidence: float, power: float) -> int:
    """Rows that show a true gain of `difference` above the margin, at this confidence, in `power` of cases.

    n = (z_confidence + z_power)^2 variance / difference^2 for paired differences, one-sided (Chow, Shao & Wang 2008,
    Sample Size Calculations in Clinical Research, 3.1.2; for right and wrong answers it is Connor 1987, Biometrics 43).
    The difference is the one that params set beforehand, not the observed gain: power at that adds nothing to the
    confidence (Hoenig & Heisey 2001, The Abuse of Power).

    The variance is one standard error larger than observed, about 1 / sqrt(discordant rows): else the number would be
    too small every other time. A true gain of `difference` needs at least as large a share of discordant rows, even if
    the two models were alike on these rows, and enough of those to be significant.
    """
    deviations, fewest = _deviations(confidence) + _deviations(power), min_discordant_rows(confidence)
    error = 1 + 1 / math.sqrt(max(comparison.discordant, 1))
    spread = max(variance(comparison) * error, difference * (1 - difference))
    share = max(comparison.discordant / comparison.rows, difference)
    by_variance = deviations**2 * spread / difference**2
    by_discordance = (fewest + _deviations(power) * math.sqrt(fewest)) / share
    return math.ceil(max(by_variance, by_discordance))


def upper_gain(comparison: Comparison, confidence: float) -> float:
    """The largest gain that these rows do not rule out, at this confidence."""
    return comparison.gain + _deviations(confidence) * math.sqrt(variance(comparison) / comparison.rows)


def variance(comparison: Comparison) -> float:
    """The variance of the paired difference of one row. Never zero: two models that agree on ten rows need not agree
    everywhere, so it counts one discordant row more (as in Agresti & Min 2005, Statistics in Medicine).
    """
    return max(comparison.rows * comparison.standard_error**2, 1 / (comparison.rows + 2))


def _deviations(share: float) -> float:
    return NormalDist().inv_cdf(share)


def _tails(confidence: float) -> tuple[float, float]:
    return (1 - confidence) / 2, (1 + confidence) / 2


OURS, THEIRS, ALIKE = "ours", "theirs", "alike"  # verdicts on two answers
BOTH, NEITHER = "both", "neither"  # and on two labels, of which each is right or wrong


def sign_test(wins: int, losses: int) -> float:
    """The probability of a lead as large as this or larger, for either model, if each row is the toss of a coin.

    Exact and two-sided; ties are left out (Dixon & Mood 1946).
    """
    rows, fewer = wins + losses, min(wins, losses)
    return min(1.0, sum(math.comb(rows, k) for k in range(fewer + 1)) / 2 ** (rows - 1)) if rows else 1.0
