"""What differs between two versions: rows, parameters, code, base, environment, parent, metrics."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from retune.config import params, renames
from retune.lineage import parent_version
from retune.lineage.record import Record
from retune.system import dvc_store

Changes = dict[str, dict[str, Any]]  # name -> {"before": ..., "after": ...}


def diff(one: Record, other: Record) -> dict[str, Any]:
    """What differs between two versions, from the first to the second. Raises MissingBytes if a split is gone."""
    before, after = _rows(one), _rows(other)
    common = before.merge(after, left_index=True, right_index=True, suffixes=("_before", "_after"))
    return {
        "rows": {
            "added": sorted(after.index.difference(before.index)),
            "removed": sorted(before.index.difference(after.index)),
            "relabelled": _changed_rows(common, "label"),
            "moved": _changed_rows(common, "side"),
        },
        "params": _changes(renames.upgrade(one["params"]), renames.upgrade(other["params"])),
        "code": _changes(one["code"]["modules"], other["code"]["modules"], flatten=dict),
        "base": _changes(one["base"], other["base"]),
        "environment": _changes(one["environment"], other["environment"]),
        "start": _changes(
            parent_version.as_dict(parent_version.of_record(one)),
            parent_version.as_dict(parent_version.of_record(other)),
        ),
        "metrics": {
            name: {"before": score["value"], "after": other["scores"]["candidate"][name]["value"]}
            for name, score in one["scores"]["candidate"].items()
        },
    }


def _rows(record: Record) -> pd.DataFrame:
    """label and side of every row, by id."""
    tables = []
    for name, split in record["data"]["sides"].items():
        table = pq.read_table(dvc_store.parquet(split["md5"]), columns=["id", "label"]).to_pandas()
        tables.append(table.assign(side=name))
    return pd.DataFrame(pd.concat(tables).set_index("id"))


def _changed_rows(common: pd.DataFrame, column: str) -> Changes:
    before, after = common[f"{column}_before"], common[f"{column}_after"]
    changed = common[before != after]
    return {
        str(name): {"before": old, "after": new}
        for name, old, new in zip(changed.index, before[changed.index], after[changed.index], strict=True)
    }


def _changes(
    one: Mapping[str, Any],
    other: Mapping[str, Any],
    flatten: Callable[[Mapping[str, Any]], dict[str, Any]] = params.flat,
) -> Changes:
    before, after = flatten(one), flatten(other)
    return {
        key: {"before": before.get(key), "after": after.get(key)}
        for key in sorted(before | after)
        if before.get(key) != after.get(key)
    }
