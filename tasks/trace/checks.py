"""The shapes of a check that more than one module of this package makes."""

import hashlib
from typing import Any

import pandas as pd

from retune.config import params
from retune.data import suppression
from retune.lineage.check import Check
from retune.lineage.record import Record
from retune.system import dvc_store

GONE, MISSING = "bytes gone, hash kept", "missing"


def equal(name: str, expected: Any, found: Any) -> Check:
    return Check(name, str(expected), str(found), expected == found)


def suppression_list(kept: dict[str, bytes]) -> suppression.Suppression:
    """The list of rows that must not be learned from, as it stood."""
    listed = kept.get("data/suppressed.json")
    return suppression.parse(listed) if listed is not None else suppression.NOTHING


def stored(path: str, md5: str) -> Check:
    try:
        return equal(path, md5, dvc_store.rehash(md5))
    except dvc_store.MissingBytes:
        return Check(path, md5, GONE, False)


def read_columns(md5: str, columns: list[str]) -> pd.DataFrame:
    table = dvc_store.table(md5, columns)
    if table is None:
        raise dvc_store.MissingBytes(GONE)
    return table.to_pandas()


def recorded_predictions(made: Record) -> pd.DataFrame | None:
    table = dvc_store.table(made["pipeline"]["hashes"]["models/reports/predictions.parquet"], None)
    return None if table is None else table.to_pandas()


def same(name: str, expected: Any, found: Any) -> Check:
    """Two values that are too long to show: what differs is shown."""
    if expected == found:
        return Check(name, "equal", "equal", True)
    if isinstance(expected, dict) and isinstance(found, dict):
        before, after = params.flat(expected), params.flat(found)
        keys = sorted(key for key in before | after if before.get(key) != after.get(key))[:5]
        told = (
            [f"{key}={before.get(key, MISSING)}" for key in keys],
            [f"{key}={after.get(key, MISSING)}" for key in keys],
        )
        return Check(name, ", ".join(told[0]), ", ".join(told[1]), False)
    return Check(name, str(expected), str(found), False)


def md5_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
