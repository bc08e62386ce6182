"""Which and how many replay examples (`retune.data.replay`) are mixed with the rows.

A module of its own, so that training does not depend on the formats of the files.
"""

import hashlib

import pandas as pd


def required_count(rows: int, share: float) -> int:
    """The number of examples that makes them `share` of all training examples, beside `rows` rows."""
    return round(rows * share / (1 - share))


def in_draw_order(examples: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The examples in the order of the draw: by a hash of seed and id."""

    def draw(name: str) -> str:
        return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).hexdigest()

    return examples.loc[examples["id"].map(draw).sort_values(kind="stable").index]
