"""How many replay examples (`retune.data.replay`) are mixed in among how many rows, and which.

Apart from reading them, so that training does not depend on the formats that they come in.
"""

import hashlib

import pandas as pd


def required_count(rows: int, share: float) -> int:
    """So many that they are `share` of all that is learned from, `rows` being the others."""
    return round(rows * share / (1 - share))


def in_draw_order(examples: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The examples in the order in which they are taken: that of a hash of seed and id."""

    def draw(name: str) -> str:
        return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).hexdigest()

    return examples.loc[examples["id"].map(draw).sort_values(kind="stable").index]
