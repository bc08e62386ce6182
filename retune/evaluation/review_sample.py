"""Which rows people look at, drawn where they tell most, and what their verdicts say of all rows.

Each row has its own chance to be drawn, and counts for one by that chance in the estimate, so that the estimate is not
bent by where people looked. Of two models' labels a row tells more if they differ, if they are unsure of it, and if it
is new: its weight is the deviation that its verdict is expected to have (Neyman 1934; Isaki & Fuller 1982), never zero,
so that a model that is sure and wrong is seen too.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

LEAST = 0.1  # of a row on which both are sure and agree; unsure ones have up to 0.5
DIFFERING, NEW = 1.0, 0.25


@dataclass(frozen=True)
class ReviewedAccuracy:
    """The share of all rows that a model has right, from the rows that people looked at."""

    value: float
    low: float
    high: float
    n: int  # rows looked at


def weights(differs: np.ndarray, confidence: np.ndarray, is_new: np.ndarray) -> np.ndarray:
    """[rows] how much a row tells. differs, is_new: of bool; confidence: the lower one of the two models."""
    sure = np.clip(confidence, 0, 1)
    result: np.ndarray = np.maximum(LEAST, np.sqrt(sure * (1 - sure))) + DIFFERING * differs + NEW * is_new
    return result


def chances(row_weights: np.ndarray, rows: int) -> np.ndarray:
    """[rows] the chance of each row to be among `rows` drawn ones: in proportion to its weight, at most 1."""
    count, sure = min(rows, len(row_weights)), np.zeros(len(row_weights), dtype=bool)
    while True:
        rest = ~sure
        result = np.ones(len(row_weights))
        if rest.any():
            result[rest] = row_weights[rest] * (count - sure.sum()) / row_weights[rest].sum()
        above = rest & (result > 1)
        if not above.any():
            return result
        sure |= above


def draw(row_chances: np.ndarray, seed: int) -> np.ndarray:
    """The numbers of the drawn rows, in order; as many as the chances add up to.

    Systematic sampling of rows in random order (Madow 1949, Annals of Mathematical Statistics 20; Hartley & Rao 1962):
    of fixed size, and each row is drawn with exactly its chance.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(row_chances))
    ends = np.cumsum(row_chances[order])
    ticks = rng.random() + np.arange(round(float(ends[-1])))
    places = np.minimum(np.searchsorted(ends, ticks, side="right"), len(order) - 1)
    return np.sort(order[np.unique(places)])


def estimate(right: np.ndarray, row_chances: np.ndarray, confidence: float) -> ReviewedAccuracy | None:
    """The share of all rows that is right, from those that were drawn. None for fewer than two rows.

    The ratio estimator of Hajek (1971), which divides the estimate of Horvitz & Thompson (1952, Journal of the American
    Statistical Association 47) by that of the number of rows. Its deviation is that of drawing with replacement
    (Sarndal, Swensson & Wretman 1992, Model Assisted Survey Sampling, 5.7 and 11.3), which is no smaller. The interval
    is the exact one of Clopper & Pearson for as many plain rows as would have that deviation (Korn & Graubard 1998,
    Survey Methodology 24), so that a few verdicts that all agree promise little.
    right: [drawn] of bool; row_chances: [drawn].
    """
    count, inverse = len(right), 1 / row_chances
    if count < 2:
        return None
    value = float(np.sum(right * inverse) / np.sum(inverse))
    residuals = inverse * (right - value) / np.sum(inverse)
    variance = count / (count - 1) * float(np.sum(residuals**2))
    by_weights = float(np.sum(inverse)) ** 2 / float(np.sum(inverse**2))  # Kish 1965
    rows = min(count, value * (1 - value) / variance) if 0 < value < 1 and variance > 0 else by_weights
    tail, hits = (1 - confidence) / 2, value * rows
    low = float(beta.ppf(tail, hits, rows - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, rows - hits)) if hits < rows else 1.0
    return ReviewedAccuracy(value, min(low, value), max(high, value), count)
