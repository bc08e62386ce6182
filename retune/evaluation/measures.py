"""What a section of `evaluate` hands on, beside the headline scores: measures with their intervals, and details.

A measure stands in evaluate.json as NAME, NAME_low and NAME_high, so that DVC and MLflow show columns; in details.json
under `measures`, with its title and rows; from there in the record of a version and on the pages that follow from it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Measure:
    title: str
    value: float
    low: float
    high: float
    n: int  # rows that it was measured on


@dataclass(frozen=True)
class Section:
    """One section of details.json, under the name of its parameters."""

    name: str
    details: dict[str, Any]
    measures: dict[str, Measure] = field(default_factory=dict)  # by their names in evaluate.json
    numbers: dict[str, float] = field(default_factory=dict)  # further columns of evaluate.json, without an interval


def headline(sections: Sequence[Section]) -> dict[str, float]:
    """The columns of evaluate.json."""
    columns: dict[str, float] = {}
    for section in sections:
        columns |= section.numbers
        for name, measure in section.measures.items():
            columns |= {name: measure.value, f"{name}_low": measure.low, f"{name}_high": measure.high}
    return columns


def details(sections: Sequence[Section]) -> dict[str, Any]:
    """The parts of details.json."""
    measures = {name: asdict(measure) for section in sections for name, measure in section.measures.items()}
    return {**{section.name: section.details for section in sections}, "measures": measures}


def of_details(report_details: Mapping[str, Any]) -> dict[str, Any]:
    """name -> title, value, low, high and n, for a record; empty for the details of an earlier release."""
    return dict(report_details.get("measures", {}))
