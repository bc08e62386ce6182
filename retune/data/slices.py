"""Columns of the source that a row keeps beside its own, such as channel or region: they part the rows into slices.

Rows that have any hold them in the column `slices`, as a JSON object of texts, in the order of the names:

    {"channel": "mail", "region": "EU"}

A row that came without them, as all rows of an earlier release did, has the empty text there.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from retune.data.row_table import SLICES

LARGEST = 20  # values of a column that are slices of their own
DISTINCT = 1_000  # values of a column, above which it tells rows apart rather than slices
OTHERS = "all other values"


def dump(values: Mapping[str, str]) -> str:
    """The cell of a row; empty if every value is."""
    return json.dumps(dict(sorted(values.items())), ensure_ascii=False) if any(values.values()) else ""


def dump_rows(columns: Mapping[str, Sequence[str]]) -> list[str]:
    """The cells of rows, from the values of each column."""
    return [dump(dict(zip(columns, values, strict=True))) for values in zip(*columns.values(), strict=True)]


def change(cell: str, of_value: Callable[[str], str]) -> str:
    """The cell with each of its values changed."""
    return dump({name: of_value(value) for name, value in parse(cell).items()})


def parse(cell: str) -> dict[str, str]:
    values: dict[str, str] = json.loads(cell) if cell else {}
    return values


def columns_of(rows: pd.DataFrame) -> dict[str, pd.Series]:
    """The values of each column that the rows keep; empty where a row has none."""
    if SLICES not in rows:
        return {}
    cells = rows[SLICES].fillna("")
    parsed = {cell: parse(cell) for cell in cells.unique()}
    names = sorted({name for values in parsed.values() for name in values})
    return {name: cells.map(lambda cell, name=name: parsed[cell].get(name, "")) for name in names}


def groups(values: pd.Series) -> Iterator[tuple[str, np.ndarray]]:
    """Value and rows of each slice of a column: the largest values, and all others together. Rows without one are none.

    Nothing if the column has so many values that it names rows: `names_rows`.
    """
    if names_rows(values):
        return
    counts = values[values != ""].value_counts()
    ranked = sorted(counts.index, key=lambda value: (-counts[value], value))
    for value in sorted(ranked[:LARGEST]):
        yield str(value), (values == value).to_numpy()
    if rest := ranked[LARGEST:]:
        yield OTHERS, values.isin(rest).to_numpy()


def names_rows(values: pd.Series) -> bool:
    """Whether a column has too many values for slices, as the number of an order has."""
    present = values[values != ""]
    return bool(present.nunique() > min(DISTINCT, max(LARGEST, len(present) / 2)))
