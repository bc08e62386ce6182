"""Tests of whether two samples of texts come from one source: a p-value, and an effect that reads without it.

Each needs LEAST texts on both sides; with fewer it says "insufficient data", and never that nothing has changed.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

from retune.data import drift

LEAST = 100  # texts on each side
EXPECTED = 5.0  # of a label on each side; rarer ones are counted together, as Cochran (1954) asks of chi-square
PERMUTATIONS = 2000  # under which the smallest p-value is 0.0005: below a twentieth of 1%
MOST = 1000  # texts on each side whose vectors are compared: the kernel grows with their square
SEED = 20


@dataclass(frozen=True)
class ShiftTest:
    """What one test says. p and effect are None where it could not be made: `lacks` says why."""

    name: str
    statistic: str  # such as chi-square
    p: float | None = None
    effect: float | None = None
    effect_name: str = ""
    before: str = ""  # the reference in words
    now: str = ""
    lacks: str = ""


def too_few(before: int, now: int, least: int = LEAST) -> str:
    """Why a test is not made; empty if it can be."""
    return "" if min(before, now) >= least else f"{before} and {now} texts, {least} needed of each"


def label_shift(before: Sequence[str], now: Sequence[str]) -> ShiftTest:
    """Pearson's chi-square of the shares of labels, and the population stability index (Siddiqi 2006) as its size."""
    test = ("labels", "chi-square")
    if lacks := too_few(len(before), len(now)):
        return ShiftTest(*test, lacks=lacks)
    counts = Counter(before), Counter(now)
    names = sorted({*counts[0], *counts[1]})
    table = np.array([[count[name] for name in names] for count in counts], dtype=float)
    expected = table.sum(0) * table.sum(1, keepdims=True) / table.sum()
    common = expected.min(0) >= EXPECTED
    pooled = np.column_stack([table[:, common], table[:, ~common].sum(1)]) if (~common).any() else table
    pooled = pooled[:, pooled.sum(0) > 0]
    p = float(stats.chi2_contingency(pooled, correction=False).pvalue) if pooled.shape[1] > 1 else 1.0
    shares = (table + 0.5) / (table + 0.5).sum(1, keepdims=True)  # half a text more: no share is nothing
    psi = float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())
    moved = int(np.argmax(abs(shares[1] - shares[0])))
    raw = table / table.sum(1, keepdims=True)
    before_words, now_words = (f"{names[moved]} {share:.1%}" for share in raw[:, moved])
    return ShiftTest(*test, p, psi, "PSI", before_words, now_words)


def distribution(name: str, before: np.ndarray, now: np.ndarray, digits: int) -> ShiftTest:
    """The two-sample test of Kolmogorov and Smirnov; its size is the largest distance of the two distributions."""
    if lacks := too_few(len(before), len(now)):
        return ShiftTest(name, "Kolmogorov-Smirnov", lacks=lacks)
    result = stats.ks_2samp(before, now, method="asymp")
    medians = [f"median {np.median(values):.{digits}f}" for values in (before, now)]
    return ShiftTest(name, "Kolmogorov-Smirnov", float(result.pvalue), float(result.statistic), "distance", *medians)


def share(name: str, before: np.ndarray, now: np.ndarray) -> ShiftTest:
    """Of bools: the two-proportion z test, as `retune.data.drift` has it for the rows of a retraining."""
    if lacks := too_few(len(before), len(now)):
        return ShiftTest(name, "two proportions", lacks=lacks)
    counts = np.array([[before.sum(), now.sum()]], dtype=float)
    z = float(drift.share_z(counts, len(before), len(now))[0])
    shares = float(before.mean()), float(now.mean())
    words = [f"{value:.1%}" for value in shares]
    return ShiftTest(name, "two proportions", float(2 * stats.norm.sf(abs(z))), shares[1] - shares[0], "change", *words)


def vectors(before: np.ndarray, now: np.ndarray) -> ShiftTest:
    """Maximum mean discrepancy (Gretton et al. 2012) of sketches, [n, width] and [m, width], under permutations.

    The kernel is Gaussian at half the median distance. p counts the permutations with as large a discrepancy, itself
    included (Phipson and Smyth 2010), so that it never is 0.
    """
    test = ("vectors", "MMD, permuted")
    if lacks := too_few(len(before), len(now)):
        return ShiftTest(*test, lacks=lacks)
    draw = np.random.default_rng(SEED)
    first, second = (_at_most(rows, draw) for rows in (before, now))
    kernel = _kernel(np.concatenate([first, second]).astype(np.float32))
    sides = _sides(len(first), len(kernel))
    values = _discrepancies(kernel, sides, len(first))
    p = float((values >= values[0] - 1e-12).mean())
    return ShiftTest(*test, p, float(values[0]), "MMD²", f"{len(first)} texts", f"{len(second)} texts")


def witness(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """[now] how much more each vector is like those of `now` than of `before` (Gretton et al. 2012, section 2.3)."""
    draw = np.random.default_rng(SEED)
    first = _at_most(before, draw).astype(np.float32)
    kernel = _kernel(np.concatenate([first, now.astype(np.float32)]))[len(first) :]
    value: np.ndarray = kernel[:, len(first) :].mean(1) - kernel[:, : len(first)].mean(1)
    return value


@lru_cache(maxsize=4)
def _sides(first: int, rows: int) -> np.ndarray:
    """[rows, permutations + 1] of 0 and 1: which rows are the first side; in column 0 those that are."""
    draw = np.random.default_rng(SEED)
    sides = np.zeros((rows, PERMUTATIONS + 1), dtype=np.float32)
    sides[:first, 0] = 1
    for column in range(1, PERMUTATIONS + 1):
        sides[draw.permutation(rows)[:first], column] = 1
    return sides


def _at_most(rows: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= MOST else rows[np.sort(draw.choice(len(rows), MOST, replace=False))]


def _kernel(rows: np.ndarray) -> np.ndarray:
    squares = (rows**2).sum(1)
    distances = np.maximum(squares[:, None] + squares - 2 * rows @ rows.T, 0)
    scale = float(np.median(distances[np.triu_indices(len(rows), 1)])) or 1.0
    kernel = np.exp(distances * np.float32(-2 / scale))  # exp(-d² / (2 (median / 2)²))
    np.fill_diagonal(kernel, 0)
    return np.asarray(kernel)


def _discrepancies(kernel: np.ndarray, sides: np.ndarray, first: int) -> np.ndarray:
    """The unbiased squared discrepancy for each column of `sides`, which has `first` ones."""
    second = len(kernel) - first
    within_and_across = kernel @ sides
    within = (sides * within_and_across).sum(0, dtype=np.float64)
    across = within_and_across.sum(0, dtype=np.float64) - within
    others = float(kernel.sum(dtype=np.float64)) - within - 2 * across
    value = within / (first * (first - 1)) + others / (second * (second - 1)) - 2 * across / (first * second)
    return np.asarray(value)


def benjamini_hochberg(values: Sequence[float]) -> list[float]:
    """The smallest false discovery rate at which each p-value counts (Benjamini and Hochberg 1995), in their order."""
    if not values:
        return []
    order = np.argsort(values, kind="stable")
    scaled = np.asarray(values)[order] * len(values) / np.arange(1, len(values) + 1)
    adjusted = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    result = np.empty(len(values))
    result[order] = adjusted
    return [float(value) for value in result]
