"""Whether the curated rows suffice: the forecast gain of twice as many, overall and by label.

What is measured, and how: `retune.evaluation.sufficiency`.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch

from retune.config import params
from retune.config.classification import Train
from retune.evaluation import sufficiency
from retune.evaluation.sufficiency import Gain
from tasks.data_quality import curated_rows

ENOUGH = "enough"


@dataclass(frozen=True)
class Point:
    rows: int  # learned from
    accuracy: float


@dataclass(frozen=True)
class LabelNeed:
    """What more rows would do for a label."""

    label: str
    rows: int
    recall: float  # of the probe, with all rows
    gain: float  # of recall, with twice the rows
    low: float  # of the gain, at 90 %
    high: float
    collect: int  # rows; 0: enough
    verdict: str


@dataclass(frozen=True)
class Sufficiency:
    rows: int
    labels: int
    base: str
    seconds: float
    curve: list[Point]
    doubled: Point  # the forecast
    gain: float  # of accuracy, with twice the rows
    low: float  # of the gain, at 90 %
    high: float
    verdict: str
    by_label: list[LabelNeed]  # the largest gain first
    unjudged: dict[str, int]  # labels with too few rows -> rows


def examine(rows: pd.DataFrame, vectors: torch.Tensor, config: Train, say: Callable[[str], None]) -> Sufficiency:
    """vectors: [rows, width], of length 1. Raises Refused where there are too few rows for a curve."""
    began = time.monotonic()
    sizes = rows["label"].value_counts()
    small = sizes[sizes < sufficiency.LEAST_ROWS]
    is_judged = ~rows["label"].isin(small.index).to_numpy()
    rows, vectors = rows[is_judged], vectors[torch.from_numpy(is_judged)]
    say(f"measuring the learning curve of {len(rows):,} rows")
    truth, names = pd.factorize(rows["label"], sort=True)
    measurement = sufficiency.measure(vectors, truth, config.probe, config.seed, say)
    forecast = sufficiency.forecast(measurement, config.seed)
    needs = [_need(str(name), int(sizes[name]), gain) for name, gain in zip(names, forecast.of_labels, strict=True)]
    of_all = forecast.of_all
    return Sufficiency(
        rows=len(rows),
        labels=len(names),
        base=config.base.name,
        seconds=round(time.monotonic() - began, 1),
        curve=[
            Point(size, _rounded(accuracy)) for size, accuracy in zip(forecast.sizes, forecast.accuracy, strict=True)
        ],
        doubled=Point(2 * forecast.sizes[-1], _rounded(of_all.doubled)),
        gain=_rounded(of_all.gain),
        low=_rounded(of_all.low),
        high=_rounded(of_all.high),
        verdict=f"collect {len(rows):,} more" if of_all.is_worth_it else ENOUGH,
        by_label=sorted(needs, key=lambda need: (-need.gain, need.label)),
        unjudged={str(name): int(count) for name, count in small.items()},
    )


def _need(label: str, rows: int, gain: Gain) -> LabelNeed:
    collect = math.ceil(rows / 10) * 10 if gain.is_worth_it else 0
    return LabelNeed(
        label=label,
        rows=rows,
        recall=_rounded(gain.now),
        gain=_rounded(gain.gain),
        low=_rounded(gain.low),
        high=_rounded(gain.high),
        collect=collect,
        verdict=f"collect {collect} more of {label}" if collect else ENOUGH,
    )


def _rounded(number: float) -> float:
    return round(number, 4)


def examine_clone(say: Callable[[str], None]) -> Sufficiency:
    """The same of the curated rows of this clone."""
    config = curated_rows.of_labels(params.load())
    rows = curated_rows.read()
    return examine(rows, curated_rows.embed(rows["text"].tolist(), config.train), config.train, say)
