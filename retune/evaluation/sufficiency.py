"""Whether more data would help: the learning curve of the cheap probe on frozen vectors, and its forecast.

The rows are parted into folds. For each, the probe learns from growing shares of the other rows, each share within the
next, and is tested on the fold: so each row is tested once at each share. The error follows an inverse power law,
a + b n^-c with a, b >= 0 (Cortes et al. 1993, Learning Curves: Asymptotic Values and Rate of Convergence; Viering &
Loog 2022, The Shape of Learning Curves), fitted by weighted least squares over a grid of c. The interval is that of a
bootstrap over folds, in which each fit begins at one of the smaller shares: how far a law of few points can be trusted
hangs on where it begins. It is the interval of the expected gain: a measurement on few rows has an error beside it.

A label has too few rows for a law of its own: fitted to halves of Banking77, such laws forecast the wrong labels. So
its error is taken to fall by the same share as that of all rows when all labels have twice the rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from retune.config.classification import Probe
from retune.errors import Refused
from retune.evaluation.wrong_labels import folds
from retune.models import probe

SHARES = (1 / 8, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1.0)
FOLDS = 8
LEAST_SHARE = 2  # rows of each label that the smallest share has: with fewer, a curve says nothing
LEAST_ROWS = int(LEAST_SHARE / SHARES[0] * FOLDS / (FOLDS - 1)) + 1  # of a label
RATES = np.linspace(0.1, 1.5, 29)
RESAMPLES = 400
BEGINNINGS = 3  # a fit begins at one of the first so many shares
LEVEL = 0.9  # of the interval
WORTH = 0.01  # gain of accuracy or recall that is worth twice the rows

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Measurement:
    """What the probe got wrong."""

    sizes: Array  # [shares], rows learned from, in the mean
    wrong: Array  # [folds, shares, labels], rows
    tested: Array  # [folds, labels], rows

    def errors(self, parts: Array) -> tuple[Array, Array]:
        """Over these folds: the error at each share [shares], and that of each label [shares, labels]."""
        wrong, tested = self.wrong[parts].sum(0), self.tested[parts].sum(0)
        return wrong.sum(1) / tested.sum(), wrong / np.maximum(tested, 1)


@dataclass(frozen=True)
class Gain:
    """Accuracy, or the recall of a label: now, with twice the rows, and the interval of the gain."""

    now: float
    doubled: float
    low: float
    high: float

    @property
    def gain(self) -> float:
        return self.doubled - self.now

    @property
    def is_worth_it(self) -> bool:
        return self.gain >= WORTH and self.low > 0


@dataclass(frozen=True)
class Forecast:
    sizes: list[int]
    accuracy: list[float]  # at each of them
    of_all: Gain
    of_labels: list[Gain]


def measure(vectors: torch.Tensor, truth: Array, config: Probe, seed: int, say: Callable[[str], None]) -> Measurement:
    """vectors: [rows, width]; truth: [rows] label numbers from 0 on, of each at least `LEAST_ROWS` rows."""
    counts = np.bincount(truth)
    labels = len(counts)
    if labels < 2 or counts.min() < LEAST_ROWS:
        raise Refused(
            f"{len(truth)} rows of {labels} labels are too few for a learning curve",
            remedy=f"it takes two labels of {LEAST_ROWS} rows each",
        )
    draw = np.random.default_rng(seed)
    sizes, wrong = np.zeros((FOLDS, len(SHARES))), np.zeros((FOLDS, len(SHARES), labels))
    tested = np.zeros((FOLDS, labels))
    for part, (train, test) in enumerate(folds(truth, FOLDS, seed)):
        order = draw.permutation(train)
        by_label = [order[truth[order] == label] for label in range(labels)]
        tested[part] = np.bincount(truth[test], minlength=labels)
        for place, share in enumerate(SHARES):
            rows = np.concatenate([some[: max(LEAST_SHARE, round(share * len(some)))] for some in by_label])
            head = probe.fit(vectors[rows], truth[rows].tolist(), labels, None, config)
            with torch.no_grad():
                missed = head(vectors[test]).argmax(-1).numpy() != truth[test]
            sizes[part, place] = len(rows)
            wrong[part, place] = np.bincount(truth[test][missed], minlength=labels)
        say(f"measured part {part + 1} of {FOLDS}")
    return Measurement(sizes.mean(0), wrong, tested)


def forecast(measurement: Measurement, seed: int) -> Forecast:
    parts, draw = np.arange(len(measurement.tested)), np.random.default_rng(seed)
    errors, of_labels = measurement.errors(parts)
    overall = _doubled(measurement.sizes, errors)
    resampled, resampled_labels = np.empty(RESAMPLES), np.empty((RESAMPLES, of_labels.shape[1]))
    for number in range(RESAMPLES):
        first = int(draw.integers(BEGINNINGS))
        some_errors, some_labels = measurement.errors(draw.choice(parts, len(parts)))
        now, doubled = _doubled(measurement.sizes[first:], some_errors[first:])
        resampled[number] = now - doubled
        resampled_labels[number] = some_labels[-1] * (1 - doubled / max(now, 1e-12))
    share = overall[1] / max(overall[0], 1e-12)
    return Forecast(
        sizes=[round(size) for size in measurement.sizes],
        accuracy=[float(1 - error) for error in errors],
        of_all=_gain(*overall, resampled),
        of_labels=[
            _gain(error, error * share, gains) for error, gains in zip(of_labels[-1], resampled_labels.T, strict=True)
        ],
    )


def _doubled(sizes: Array, errors: Array) -> tuple[float, float]:
    """The errors by the law that fits these: with all rows, and with twice as many."""
    rates = np.array([fit_rate(sizes, errors)])
    now, doubled = _predicted(*fit(sizes, errors, rates), rates, np.array([sizes[-1], 2 * sizes[-1]]))[0]
    return float(now), float(doubled)


def _predicted(a: Array, b: Array, rates: Array, sizes: Array) -> Array:
    """[rates, sizes]"""
    law: Array = a[:, None] + b[:, None] * sizes[None] ** -rates[:, None]
    return law


def fit_rate(sizes: Array, errors: Array) -> float:
    """The c under which a + b n^-c comes nearest to the errors."""
    a, b = fit(sizes, errors, RATES)
    misfit = ((_predicted(a, b, RATES, sizes) - errors[None]) ** 2 * _weights(errors)[None]).sum(1)
    return float(RATES[misfit.argmin()])


def fit(sizes: Array, errors: Array, rates: Array) -> tuple[Array, Array]:
    """a and b >= 0 [rates] of a + b n^-c for each c of `rates`, by weighted least squares."""
    weight = _weights(errors)
    weight = weight / weight.sum()
    x = sizes[None] ** -rates[:, None]
    mean_x, mean_y = (x * weight).sum(1), float((errors * weight).sum())
    centred = x - mean_x[:, None]
    b = (centred * weight * (errors - mean_y)).sum(1) / np.maximum((centred**2 * weight).sum(1), 1e-30)
    a = mean_y - b * mean_x
    through_zero = (x * weight * errors).sum(1) / (x**2 * weight).sum(1)
    b, a = np.where(a < 0, through_zero, b), np.maximum(a, 0)
    return np.where(b < 0, mean_y, a), np.maximum(b, 0)


def _weights(errors: Array) -> Array:
    """By the variance of a share; one of 0 or 1 counts as one error in some hundred rows."""
    share = np.clip(errors, 0.005, 0.995)
    weights: Array = 1 / (share * (1 - share))
    return weights


def _gain(now: float, doubled: float, gains: Array) -> Gain:
    """now, doubled: errors; gains: those of the resamples."""
    low, high = np.quantile(gains, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    gain = now - doubled
    return Gain(float(1 - now), float(1 - doubled), float(min(low, gain)), float(max(high, gain)))
