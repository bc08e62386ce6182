"""How often the search for slices raises a false alarm, and how often it finds a slice that is there.

    python bench/slice_search.py

Datasets of 1,000 rows with six columns of two to twelve values, searched by every condition and pair. In 1,000 of them
there is no bad slice; in 200 a tenth of the rows, a value of one column, is right 20 points less often. Beside the
search: Fisher's exact test of each slice with the correction of Holm. In brackets the exact interval of 95% of what was
counted (Clopper & Pearson 1934). Exits with 1 if more than 5% of all runs without a bad slice raise an alarm, or surely
more than 5% of those of a row of the table, or if what the report calls detectable is detected in less than 70%.
"""

import sys

import numpy as np
import pandas as pd
from scipy.stats import hypergeom

from retune.data import slices
from retune.evaluation import slice_search
from retune.evaluation.automation import exact_interval

ROWS, DATASETS, LAYOUTS, LEVEL, DROP = 1_000, 1_000, 20, 0.05, 0.20
PERMUTATIONS, MIN_ROWS = 400, 20
ERRORS = (0.05, 0.15, 0.30)
PLANTED = slice_search.Condition("planted", "yes")


def layout(seed: int) -> tuple[list[slice_search.Slice], np.ndarray]:
    """The slices of one set of columns, and the rows of the one that may be bad."""
    draw = np.random.default_rng(seed)
    values = {
        f"column {size}": draw.choice(size, ROWS, p=draw.dirichlet(np.full(size, 2.0))) for size in (2, 3, 4, 5, 8, 12)
    }
    planted = np.isin(np.arange(ROWS), draw.choice(ROWS, ROWS // 10, replace=False))
    columns = {name: [f"v{value}" for value in column] for name, column in values.items()}
    columns["planted"] = ["yes" if is_planted else "no" for is_planted in planted]
    rows = pd.DataFrame({"source": "desk", "slices": slices.dump_rows(columns)})
    texts = ["x" * int(length) for length in draw.integers(20, 200, ROWS)]
    return slice_search.slices_of(slice_search.columns_of(rows, texts), MIN_ROWS), planted


def holm_alarms(losses: np.ndarray, parts: list[slice_search.Slice]) -> bool:
    masks = np.array([part.rows for part in parts])
    wrong, sizes = masks @ losses, masks.sum(axis=1)
    return bool(hypergeom.sf(wrong - 1, ROWS, losses.sum(), sizes).min() * len(parts) <= LEVEL)


def share(error: float, drop: float, datasets: int) -> tuple[float, float, float]:
    """Share of the datasets in which the search finds the planted slice, or with no drop anything; of Holm; the mean
    loss that is called detectable.
    """
    alarms, holm, detectable = [], [], []
    for number in range(datasets):
        if number % (datasets // LAYOUTS) == 0:
            parts, planted = layout(number)
        draw = np.random.default_rng([number, int(1000 * error)])
        losses = (draw.random(ROWS) < error + drop * planted).astype(float)
        search = slice_search.search(losses, parts, PERMUTATIONS, LEVEL, number)
        surely = [each.slice.conditions for each in search.judgements if each.p <= LEVEL]
        alarms.append(any(PLANTED in conditions for conditions in surely) if drop else bool(surely))
        holm.append(holm_alarms(losses, parts))
        detectable.append(search.detectable)
    return float(np.mean(alarms)), float(np.mean(holm)), float(np.mean(detectable))


def main() -> bool:
    ok, alarms = True, []
    print("wrong rows         false alarms    Holm   found    Holm  detectable   found")
    for error in ERRORS:
        false, holm_false, detectable = share(error, 0.0, DATASETS)
        power, holm_power, _ = share(error, DROP, DATASETS // 5)
        detected, _, _ = share(error, detectable, DATASETS // 5)
        alarms.append(false)
        spread = exact_interval(round(false * DATASETS), DATASETS, 0.975)
        ok = ok and detected >= slice_search.POWER - 0.1 and spread.low <= LEVEL
        interval = f"{false:.1%} [{spread.low:.1%}, {spread.high:.1%}]"
        by_search = f"{error:>10.0%}  {interval:>19}  {holm_false:>6.1%}  {power:>6.1%}  {holm_power:>6.1%}"
        print(f"{by_search}  {detectable:>10.3f}  {detected:>6.1%}", flush=True)
    print(f"false alarms in all {len(ERRORS) * DATASETS:,} runs: {np.mean(alarms):.2%}")
    return ok and float(np.mean(alarms)) <= LEVEL


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
