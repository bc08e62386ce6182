"""How right the answers are: measured, where people have said what is right, and estimated, where nobody has.

Measured accuracy has Wilson's interval. Estimated accuracy follows from confidence alone: the mean confidence, if it is
calibrated, and the share of texts above the threshold that is right about the test rows (ATC: Garg et al. 2022,
"Leveraging unlabeled data to predict out-of-distribution performance"). Both assume that the labels still mean what
they meant: a new topic that the model is sure about fools them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from retune.evaluation import review_sample
from retune.serving.feedback import RIGHT, WRONG, Review

LEAST = 50  # labels of people, and texts
SURE = 0.99  # of a fall


@dataclass(frozen=True)
class Share:
    """A share with its interval; None values: too few."""

    n: int
    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Fall:
    """By how much a share is lower than before, with a one-sided bound."""

    before: Share
    now: Share
    value: float | None  # None: too few to say
    at_least: float | None  # with confidence SURE

    @property
    def is_sure(self) -> bool:
        return self.at_least is not None and self.at_least > 0


def measured(right: Sequence[bool] | np.ndarray, confidence: float = 0.95) -> Share:
    """The share of answers that people found right, with Wilson's interval (1927)."""
    n = len(right)
    if n < LEAST:
        return Share(n)
    z, p = NormalDist().inv_cdf((1 + confidence) / 2), float(np.mean(right))
    centre, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return Share(n, p, max((centre - spread) / scale, 0.0), min((centre + spread) / scale, 1.0))


def estimated(confidence: np.ndarray, level: float = 0.95) -> Share:
    """The mean confidence, [texts], with the interval of a mean."""
    n = len(confidence)
    if n < LEAST:
        return Share(n)
    mean = float(confidence.mean())
    spread = NormalDist().inv_cdf((1 + level) / 2) * float(confidence.std(ddof=1)) / math.sqrt(n)
    return Share(n, mean, max(mean - spread, 0.0), min(mean + spread, 1.0))


def atc_threshold(confidence: np.ndarray, right: np.ndarray) -> float:
    """The confidence that the same share of test rows exceeds as is right."""
    wrong = len(right) - int(np.sum(right))
    return float(np.sort(confidence)[wrong - 1]) if wrong else -math.inf


def estimated_by_threshold(confidence: np.ndarray, threshold: float) -> Share:
    """The share of texts above the threshold of `atc_threshold`."""
    return measured(confidence > threshold)


def reviewed(reviews: Sequence[Review], confidence: float = 0.95) -> Share:
    """The share of all requests that was answered right, from those that reviewers were asked about by chance."""
    usable = [review for review in reviews if review.chance is not None and review.verdict in (RIGHT, WRONG)]
    right = np.array([review.verdict == RIGHT for review in usable], dtype=bool)
    chances = np.array([review.chance for review in usable], dtype=float)
    share = review_sample.estimate(right, chances, confidence) if len(usable) >= LEAST else None
    return Share(share.n, share.value, share.low, share.high) if share else Share(len(usable))


def fall(before: Callable[[float], Share], now: Callable[[float], Share]) -> Fall:
    """Of measured accuracy. before, now: the share with its interval at a confidence.

    The bound is that of a difference of two proportions (Newcombe 1998, method 10).
    """
    first, second = before(0.95), now(0.95)
    low, high = before(2 * SURE - 1).low, now(2 * SURE - 1).high
    if first.value is None or second.value is None or low is None or high is None:
        return Fall(first, second, None, None)
    value = first.value - second.value
    return Fall(first, second, value, value - math.hypot(first.value - low, high - second.value))


def fall_of_mean(before: np.ndarray, now: np.ndarray) -> Fall:
    """Of estimated accuracy. The bound of Welch for a difference of two means."""
    first, second = estimated(before), estimated(now)
    if first.value is None or second.value is None:
        return Fall(first, second, None, None)
    error = math.sqrt(float(before.var(ddof=1)) / len(before) + float(now.var(ddof=1)) / len(now))
    value = first.value - second.value
    return Fall(first, second, value, value - NormalDist().inv_cdf(SURE) * error)
