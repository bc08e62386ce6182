"""What differs between two versions: rows, parameters, code, base, environment, parent, metrics."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from retune.config import params
from retune.lineage import parent_version
from retune.lineage.record import Record
from retune.system import dvc_store


def diff(one: Record, other: Record) -> dict[str, Any]:
    """What differs between two versions, from the first to the second. Raises Gone if a side's bytes are gone."""
    before, after = _rows(one), _rows(other)
    both = before.merge(after, left_index=True, right_index=True, suffixes=("_before", "_after"))
    return {
        "rows": {
            "added": sorted(after.index.difference(before.index)),
            "removed": sorted(before.index.difference(after.index)),
            "relabelled": _changes(both, "label"),
            "moved": _changes(both, "side"),
        },
        "params": _differences(one["params"], other["params"]),
        "code": _differences(one["code"]["modules"], other["code"]["modules"], flatten=dict),
        "base": _differences(one["base"], other["base"]),
        "environment": _differences(one["environment"], other["environment"]),
        "start": _differences(
            parent_version.as_dict(parent_version.of_record(one)),
            parent_version.as_dict(parent_version.of_record(other)),
        ),
        "metrics": {
            name: {"before": told["value"], "after": other["scores"]["candidate"][name]["value"]}
            for name, told in one["scores"]["candidate"].items()
        },
    }


def _rows(made: Record) -> pd.DataFrame:
    """label and side of every row, by id."""
    sides = []
    for side, told in made["data"]["sides"].items():
        table = pq.read_table(dvc_store.parquet(told["md5"]), columns=["id", "label"]).to_pandas()
        sides.append(table.assign(side=side))
    return pd.concat(sides).set_index("id")


def _changes(both: pd.DataFrame, what: str) -> dict[str, dict[str, str]]:
    changed = both[both[f"{what}_before"] != both[f"{what}_after"]]
    return {
        str(name): {"before": before, "after": after}
        for name, before, after in zip(changed.index, changed[f"{what}_before"], changed[f"{what}_after"], strict=True)
    }


def _differences(
    one: dict[str, Any], other: dict[str, Any], flatten: Callable[[dict[str, Any]], dict[str, Any]] = params.flat
) -> dict[str, dict[str, Any]]:
    before, after = flatten(one), flatten(other)
    return {
        key: {"before": before.get(key), "after": after.get(key)}
        for key in sorted(before | after)
        if before.get(key) != after.get(key)
    }
