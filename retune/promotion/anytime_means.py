"""Means and shares of the arms of a rollout, with intervals that hold at all looks together.

A share has an exact one (`share_interval`, the beta-binomial mixture of Robbins 1970). A mean of values without a known
bound, such as ratings, the logarithm of a latency or what a customer paid, has the asymptotic confidence sequence of
Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024 ("Time-uniform central limit theory and asymptotic confidence
sequences"), theorem 2.2. It assumes independent values with a finite variance, and enough of them that the variance is
known well: a stratum with fewer than `FEWEST` values of an arm does not count.

Arms are compared within each step of a rollout and the steps are weighed by their information, so that neither unequal
shares nor a rate that drifts from step to step look like a difference.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from scipy.optimize import brentq
from scipy.special import betaln, log_ndtr, xlog1py, xlogy

from retune.evaluation.statistics import Interval

FEWEST = 100  # values of each arm, in a stratum that counts; with 30, nine ratings of ten alike alarm in 22%
TUNED_FOR = 1_000  # values at which an interval is narrowest, for what it can be
EFFECT = 0.25  # standard deviations: scale of the differences that a test looks for


@dataclass(frozen=True)
class Values:
    """What one arm was given in one step."""

    count: int
    mean: float
    variance: float  # of the values


@dataclass(frozen=True)
class Difference:
    """The mean of the candidate less that of the champion, over all strata."""

    value: float
    deviation: float  # of a single value
    count: float  # of values whose mean would be known as well as `value` is; 0 where no stratum counts


def difference(strata: Iterable[tuple[Values, Values]]) -> Difference:
    """strata: candidate and champion, a pair for each step."""
    counted = [pair for pair in strata if min(each.count for each in pair) >= FEWEST]
    errors = [sum(each.variance / each.count for each in pair) for pair in counted]
    pairs = [(pair, error) for pair, error in zip(counted, errors, strict=True) if error > 0]
    if not pairs:
        return Difference(0.0, 0.0, 0.0)
    information = sum(1 / error for _, error in pairs)
    value = sum((candidate.mean - champion.mean) / error for (candidate, champion), error in pairs) / information
    values = sum(each.count for pair, _ in pairs for each in pair)
    variance = sum(each.count * each.variance for pair, _ in pairs for each in pair) / values
    return Difference(value, math.sqrt(variance), variance * information)


def evidence_above(gap: Difference, margin: float) -> float:
    """E-value against "the true difference is at most `margin`": a half-normal mixture over the ones above it."""
    if not gap.count:
        return 1.0
    spread = 1 + gap.count * EFFECT**2
    score = (gap.value - margin) / gap.deviation * gap.count
    at = score * EFFECT / math.sqrt(spread)
    return math.exp(min(math.log(2) - math.log(spread) / 2 + at**2 / 2 + float(log_ndtr(at)), 700.0))


def evidence_below(gap: Difference, margin: float) -> float:
    """E-value against "the true difference is at least `margin`"."""
    mirrored = Difference(-gap.value, gap.deviation, gap.count)
    return evidence_above(mirrored, -margin)


def difference_interval(gap: Difference, confidence: float) -> Interval | None:
    """None where no stratum has enough values."""
    if not gap.count:
        return None
    half = gap.deviation * _half_width(gap.count, 1 - confidence)
    return Interval(gap.value, gap.value - half, gap.value + half)


def mean_interval(values: Values, confidence: float) -> Interval | None:
    """None where there are too few values."""
    if values.count < FEWEST:
        return None
    half = math.sqrt(values.variance) * _half_width(values.count, 1 - confidence)
    return Interval(values.mean, values.mean - half, values.mean + half)


def _half_width(count: float, alpha: float) -> float:
    """In standard deviations of a value: theorem 2.2, with its rho narrowest at `TUNED_FOR` (section B.2)."""
    rho = (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / TUNED_FOR
    grown = count * rho + 1
    return math.sqrt(2 * grown / (count**2 * rho) * math.log(math.sqrt(grown) / alpha))


def share_interval(hits: int, count: int, confidence: float) -> Interval:
    """A share of independent hits, exact at any count. Without any it is the whole scale."""
    if not count:
        return Interval(0.0, 0.0, 1.0)
    mixture = float(betaln(hits + 0.5, count - hits + 0.5) - betaln(0.5, 0.5))
    value = hits / count

    def above(share: float) -> float:
        return mixture - float(xlogy(hits, share) + xlog1py(count - hits, -share)) + math.log(1 - confidence)

    low = brentq(above, 1e-15, value) if hits else 0.0
    high = brentq(above, value, 1 - 1e-15) if hits < count else 1.0
    return Interval(value, float(low), float(high))
