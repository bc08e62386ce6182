"""Scores and gains as charts of the lineage page: positions of bars, intervals and axes, without HTML."""

import math
from dataclasses import dataclass

from retune.evaluation.task_metrics import direction
from retune.lineage.record import Rival, Score, Scores


@dataclass(frozen=True)
class Bar:
    """One score, and its position on its axis, from 0 to 100."""

    model: str
    value: float
    low: float
    high: float
    n: int
    at: float
    left: float
    right: float
    zero: float


@dataclass(frozen=True)
class Chart:
    name: str
    direction: str  # which value is the better one, in words; empty if no task has this metric
    start: float
    end: float
    bars: tuple[Bar, ...]


def charts(scores: Scores) -> list[Chart]:
    """One chart per metric of the candidate, in the order of the record."""
    models = (
        ("this version", scores["candidate"]),
        ("champion before", scores["champion"]),
        ("probe", scores["probe"]),
        ("untouched base", scores["base"]),
    )
    charts = []
    for metric in scores["candidate"]:
        scored = [(title, metrics[metric]) for title, metrics in models if metrics and metric in metrics]
        start, end = axis([value for _, score in scored for value in (score["value"], score["low"], score["high"])])
        bars = tuple(_bar(title, score, start, end) for title, score in scored)
        charts.append(Chart(metric, direction(metric), start, end, bars))
    return charts


def axis(values: list[float]) -> tuple[float, float]:
    """From zero to a round number at or above the highest; below zero only if a value is."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    return min(0.0, -_round_up(-min(finite))), max(_round_up(max(finite)), 0.0) or 1.0


def _round_up(value: float) -> float:
    """The next of 1, 2, 2.5, 5 and 10 times a power of ten; 0 for a number that is not above zero."""
    if value <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(value))
    return next((step * power for step in (1.0, 2.0, 2.5, 5.0) if value <= step * power * 1.000001), 10 * power)


def _bar(title: str, score: Score, start: float, end: float) -> Bar:
    def place(value: float) -> float:
        return _place(value, start, end)

    value, low, high = score["value"], score["low"], score["high"]
    return Bar(title, value, low, high, score["n"], place(value), place(low), place(high), place(0.0))


def _place(value: float, start: float, end: float) -> float:
    share = (value - start) / (end - start) if math.isfinite(value) and end > start else 0.0
    return round(100 * min(max(share, 0.0), 1.0), 2)


def gain_axis(rival: Rival) -> dict[str, float]:
    """The positions of gain, interval, margin and zero of one comparison on its axis, from 0 to 100."""
    values = {"gain": rival["gain"], "low": rival["low"], "high": rival["high"], "margin": rival["margin"]}
    start, end = axis(list(values.values()))
    places = {name: _place(value, start, end) for name, value in values.items()}
    return {"start": start, "end": end, "zero": _place(0.0, start, end)} | places
