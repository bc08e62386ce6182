"""The parts of the rows on which a model is surely worse than on the rest, sought rather than named.

A condition is one value of a column: of one that ingest kept, of the source, of the month of a date, of the length of
the text. A slice is one condition, or two of different columns. Of hundreds of slices some are bad by chance, so that
each is judged by the largest deviation that chance gives among all: the losses are permuted over the rows, and the
largest standardised deviation of each permutation counts (Westfall & Young 1993, Resampling-Based Multiple Testing,
single step). That keeps the share of runs with a false alarm below the level, whatever slices overlap; Holm's
correction of exact tests keeps it too and finds fewer (`bench/slice_search.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist

import numpy as np
import pandas as pd

from retune.data import slices

MOST = 60  # conditions that are paired: the largest; pairs grow with the square
QUARTERS = 4
BATCH = 200  # permutations at once
DATE = r"\d{4}-(?:0[1-9]|1[0-2])(?:-\d\d.*)?"
POWER, SHARE = (
    0.8,
    0.1,
)  # the effect that could have been seen: in this share of cases, in a slice of this share of rows


@dataclass(frozen=True)
class Condition:
    column: str
    value: str

    def __str__(self) -> str:
        return f"{self.column} {self.value}"


@dataclass(frozen=True)
class Slice:
    conditions: tuple[Condition, ...]
    rows: np.ndarray  # [rows] of bool


@dataclass(frozen=True)
class Judgement:
    """One slice beside the rest of the rows."""

    slice: Slice
    loss: float  # mean of the slice
    rest: float  # mean of the other rows
    deviation: float  # of the slice's mean from that of all rows, in standard errors; above zero: worse
    p: float  # probability of such a deviation in any slice, if no slice is worse


@dataclass(frozen=True)
class Search:
    judgements: tuple[Judgement, ...]  # the worst first
    size: int  # rows of a slice for which `detectable` is stated
    detectable: float | None  # loss above that of the rest which is noticed in POWER of cases; None: no loss is


def columns_of(rows: pd.DataFrame, texts: Sequence[str]) -> dict[str, pd.Series]:
    """The columns to search, by their names; a row without a value has the empty text.

    texts: [rows], what was said, in words.
    """
    columns = {"source": rows["source"].astype(str), "length": quarters(pd.Series([len(text) for text in texts]))}
    for name, values in slices.columns_of(rows).items():
        present = values[values != ""]
        numbers = pd.to_numeric(values, errors="coerce")
        if not slices.names_rows(values):
            columns[name] = values
        elif present.str.fullmatch(DATE).all():
            columns[f"{name}, month"] = values.str.slice(0, 7)
        elif numbers[present.index].notna().all():
            columns[name] = quarters(numbers)
    return {name: values.reset_index(drop=True) for name, values in columns.items()}


def quarters(numbers: pd.Series) -> pd.Series:
    """[rows] the quarter of each number, named by its range; empty for no number."""
    present = numbers[numbers.notna()]
    cuts = np.unique(np.quantile(present, np.arange(1, QUARTERS) / QUARTERS)) if len(present) else np.zeros(0)
    places = pd.Series(np.searchsorted(cuts, present, side="left"), index=present.index)
    ranges = present.groupby(places).agg(["min", "max"])
    names = {place: f"{low:g} to {high:g}" for place, low, high in ranges.itertuples()}
    return places.map(names).astype("str").reindex(numbers.index, fill_value="")


def slices_of(columns: Mapping[str, pd.Series], min_rows: int) -> list[Slice]:
    """Each condition, and each pair of two columns, that has `min_rows` and leaves as many; of equal ones the first."""
    singles = list(_large(_conditions(columns), min_rows))
    largest = sorted(singles, key=lambda each: (-int(each.rows.sum()), str(each.conditions[0])))[:MOST]
    pairs = (
        Slice((*one.conditions, *other.conditions), one.rows & other.rows)
        for one, other in combinations(sorted(largest, key=lambda each: str(each.conditions[0])), 2)
        if one.conditions[0].column != other.conditions[0].column
    )
    distinct = {each.rows.tobytes(): each for each in reversed([*singles, *_large(pairs, min_rows)])}
    return list(reversed(distinct.values()))


def _conditions(columns: Mapping[str, pd.Series]) -> Iterator[Slice]:
    for name, values in columns.items():
        for value, rows in slices.groups(values):
            yield Slice((Condition(name, value),), rows)


def _large(parts: Iterator[Slice], min_rows: int) -> Iterator[Slice]:
    return (part for part in parts if min_rows <= part.rows.sum() <= len(part.rows) - min_rows)


def search(losses: np.ndarray, parts: Sequence[Slice], permutations: int, level: float, seed: int) -> Search:
    """Judge every slice. losses: [rows], more is worse; level: share of runs that may raise a false alarm."""
    rows = len(losses)
    if not parts or float(np.std(losses)) == 0:
        return Search((), 0, None)
    masks = np.array([part.rows for part in parts], dtype=float)
    sizes = masks.sum(axis=1)
    errors = _standard_errors(losses, sizes)
    means = masks @ losses / sizes
    deviations = (means - losses.mean()) / errors
    largest = _largest_by_chance(losses, masks / sizes[:, None], errors, permutations, seed)
    beyond = permutations - np.searchsorted(largest, deviations - 1e-9)  # sums in another order differ in the last bits
    rest = (losses.sum() - means * sizes) / (rows - sizes)
    judgements = [
        Judgement(*each)
        for each in zip(
            parts,
            means.tolist(),
            rest.tolist(),
            deviations.tolist(),
            ((1 + beyond) / (1 + permutations)).tolist(),
            strict=True,
        )
    ]
    worst = sorted(_without_parts_of_worse(judgements), key=lambda each: -each.deviation)
    size = int(max(SHARE * rows, sizes.min()))
    return Search(tuple(worst), size, _detectable(losses, size, float(np.quantile(largest, 1 - level))))


def _largest_by_chance(
    losses: np.ndarray, weights: np.ndarray, errors: np.ndarray, permutations: int, seed: int
) -> np.ndarray:
    """[permutations] in order: the largest deviation of any slice. weights: [slices, rows] of each slice's mean."""
    draw, largest = np.random.default_rng(seed), []
    for start in range(0, permutations, BATCH):
        losses_by_chance = np.tile(losses, (min(BATCH, permutations - start), 1))
        means = weights @ draw.permuted(losses_by_chance, axis=1).T
        largest.append(np.max((means - losses.mean()) / errors[:, None], axis=0))
    return np.sort(np.concatenate(largest))


def _standard_errors(losses: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """[slices] of the mean of so many rows drawn without replacement (Cochran 1977, Sampling Techniques, 2.5)."""
    rows = len(losses)
    errors: np.ndarray = np.std(losses) * np.sqrt((rows - sizes) / (sizes * (rows - 1)))
    return errors


def _without_parts_of_worse(judgements: Sequence[Judgement]) -> Iterator[Judgement]:
    """A pair says something new only where it deviates more than either of its conditions."""
    single = {each.slice.conditions[0]: each.deviation for each in judgements if len(each.slice.conditions) == 1}
    for each in judgements:
        conditions = each.slice.conditions
        if len(conditions) == 1 or each.deviation > max(single.get(name, -np.inf) for name in conditions):
            yield each


def _detectable(losses: np.ndarray, size: int, critical: float) -> float | None:
    """The excess at which the deviation is above `critical` in POWER of cases: normal approximation, by iteration.

    A slice that is worse varies more where a loss is 0 or 1, so that the excess depends on itself.
    """
    rows, rest = len(losses), float(losses.mean())
    is_share = bool(np.isin(losses, (0, 1)).all())
    outside = (rows - size) / rows

    def variance(mean: float) -> float:
        return min(mean, 1.0) * (1 - min(mean, 1.0)) if is_share else float(np.var(losses))

    excess = 0.0
    for _ in range(50):
        by_chance = np.sqrt(variance(rest + excess * size / rows) * outside / size)
        of_excess = outside * np.sqrt(variance(rest + excess) / size + variance(rest) / (rows - size))
        excess = float(critical * by_chance + NormalDist().inv_cdf(POWER) * of_excess) / outside
    return None if is_share and rest + excess > 1 else excess
