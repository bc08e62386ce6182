"""What a change of the texts costs: the same rows before and after, with a paired bootstrap interval.

A column of predictions.parquet holds the score of each row after one kind of change, and no number for rows that were
not drawn or that the change leaves as they are: `robust_typos`. So the gate compares two models on the same changed
rows, and `retune verify` does so again, from the predictions alone.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from retune.evaluation import statistics
from retune.evaluation.statistics import Interval

PREFIX = "robust_"


@dataclass(frozen=True)
class Cost:
    """Of one kind of change, on the rows that it changes."""

    kind: str
    rows: int
    before: float
    after: float
    drop: Interval  # before - after, paired


def column(kind: str) -> str:
    return f"{PREFIX}{kind}"


def kinds_of(predictions: pd.DataFrame) -> list[str]:
    """The kinds of changes that a table of predictions has scores for."""
    return [str(name).removeprefix(PREFIX) for name in predictions if str(name).startswith(PREFIX)]


def cost(kind: str, before: np.ndarray, after: np.ndarray, resamples: int, confidence: float, seed: int) -> Cost | None:
    """before, after: [rows] scores, larger is better; NaN where the row was not changed. None if no row was."""
    changed = ~np.isnan(after)
    if not changed.any():
        return None
    losses = before[changed] - after[changed]
    draws = statistics.resamples(len(losses), resamples, seed)
    drop = statistics.interval(lambda rows: float(losses[rows].mean()), draws, confidence)
    return Cost(kind, len(losses), float(before[changed].mean()), float(after[changed].mean()), drop)
