"""How new rows differ from those that a model learned from: in labels, sources, words and lengths.

Shares are compared by the two-proportion z test with pooled variance (Agresti, Categorical Data Analysis, 3rd ed.,
section 3.2). Many shares are compared at once, so a change counts only beyond the limit of Bonferroni.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd

WORD = re.compile(r"[^\W\d_]{2,}")
DOUBT = 0.01  # chance that any of the listed changes is none
LISTED = 10  # changes of each kind, the surest first
LEAST = 30  # rows on each side; fewer tell nothing
MOST_ROWS = 50_000  # of each side whose words are counted, evenly spaced


@dataclass(frozen=True)
class ShareChange:
    name: str
    before: float  # share of the earlier rows
    now: float
    z: float


@dataclass(frozen=True)
class Drift:
    rows_before: int
    rows_now: int
    labels: tuple[ShareChange, ...]
    sources: tuple[ShareChange, ...]
    words: tuple[ShareChange, ...]  # share of the rows that hold the word
    median_length: tuple[float, float]  # characters before and now
    label_distance: float  # total variation: the share of rows whose label would have to change; 0 without labels

    @property
    def changed(self) -> int:
        """How many labels, sources and words have another share than before."""
        return len(self.labels) + len(self.sources) + len(self.words)


def compare(before: pd.DataFrame, now: pd.DataFrame, has_labels: bool) -> Drift | None:
    """The drift from the rows `before` to `now`; None if either are too few.

    Both have the columns text (as a person reads it), label and source.
    """
    if min(len(before), len(now)) < LEAST:
        return None
    labels = _counts(before["label"], now["label"]) if has_labels else (Counter(), Counter())
    distance = sum(abs(labels[0][name] / len(before) - labels[1][name] / len(now)) for name in {*labels[0], *labels[1]})
    samples = _evenly(before["text"]), _evenly(now["text"])
    words = Counter[str](), Counter[str]()
    for counts, texts in zip(words, samples, strict=True):
        for text in texts:
            counts.update({word.lower() for word in WORD.findall(text)})
    medians = (float(before["text"].str.len().median()), float(now["text"].str.len().median()))
    return Drift(
        len(before),
        len(now),
        _changes(*labels, len(before), len(now)),
        _changes(*_counts(before["source"], now["source"]), len(before), len(now)),
        _changes(*words, len(samples[0]), len(samples[1])),
        medians,
        distance / 2,
    )


def _evenly(texts: pd.Series) -> pd.Series:
    return texts.iloc[:: -(-len(texts) // MOST_ROWS)]


def _counts(before: Iterable[str], now: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    return Counter(before), Counter(now)


def _changes(before: Counter[str], now: Counter[str], rows_before: int, rows_now: int) -> tuple[ShareChange, ...]:
    names = sorted({*before, *now})
    if not names:
        return ()
    counts = np.array([[before[name], now[name]] for name in names], dtype=float)
    shares, z = counts / [rows_before, rows_now], share_z(counts, rows_before, rows_now)
    limit = NormalDist().inv_cdf(1 - DOUBT / (2 * len(names)))
    surest = np.argsort(-abs(z), kind="stable")[:LISTED]
    return tuple(
        ShareChange(names[place], float(shares[place, 0]), float(shares[place, 1]), float(z[place]))
        for place in surest
        if abs(z[place]) > limit
    )


def share_z(counts: np.ndarray, rows_before: int, rows_now: int) -> np.ndarray:
    """z of each change of a share. counts: [shares, 2], rows with it before and now; 0 where all or none has it."""
    shares = counts / [rows_before, rows_now]
    pooled = counts.sum(1) / (rows_before + rows_now)
    error = np.sqrt(pooled * (1 - pooled) * (1 / rows_before + 1 / rows_now))
    z: np.ndarray = np.divide(shares[:, 1] - shares[:, 0], error, out=np.zeros(len(counts)), where=error > 0)
    return z
