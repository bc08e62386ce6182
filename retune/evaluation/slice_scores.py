"""The scores of a model on slices: the test rows that have one value of a column that ingest kept.

    [{"column": "channel", "names_rows": false, "values": [{"value": "mail", "rows": 120, "scores": {...}}]}]

A column with so many values that they name rows has no slices, and says so. A slice of fewer than ten rows has its
number of rows alone: its interval would be the whole scale.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from retune.data import slices
from retune.evaluation.statistics import Interval

FEWEST = 10  # rows of a slice that is scored


def of_rows(rows: pd.DataFrame, score: Callable[[np.ndarray], dict[str, Interval]]) -> list[dict[str, Any]]:
    """rows: test rows; score: the scores of some of them, by their places in the table."""
    return [
        {
            "column": column,
            "names_rows": slices.names_rows(values),
            "values": [_slice(value, np.flatnonzero(mask), score) for value, mask in slices.groups(values)],
        }
        for column, values in slices.columns_of(rows).items()
    ]


def _slice(value: str, places: np.ndarray, score: Callable[[np.ndarray], dict[str, Interval]]) -> dict[str, Any]:
    scores = score(places) if len(places) >= FEWEST else {}
    return {"value": value, "rows": len(places), "scores": {name: asdict(each) for name, each in scores.items()}}
