"""The shapes of a check that more than one module of this package makes."""

from collections.abc import Iterator
from typing import Any, cast

import pandas as pd

from retune.config import params
from retune.data import suppression
from retune.errors import Refused
from retune.lineage.check import Check
from retune.lineage.record import Record
from retune.system import dvc_store

GONE, MISSING = "bytes gone, hash kept", "missing"
Blobs = dict[str, bytes]  # path -> content, as git has it at the recorded commit


def equal(name: str, expected: Any, actual: Any) -> Check:
    return Check(name, str(expected), str(actual), expected == actual)


def same(name: str, expected: Any, actual: Any) -> Check:
    """Compare two values that are too long to show: the check shows their first five differences."""
    if expected == actual:
        return Check(name, "equal", "equal", True)
    if isinstance(expected, dict) and isinstance(actual, dict):
        before, after = params.flat(expected), params.flat(actual)
        keys = sorted(key for key in before | after if before.get(key) != after.get(key))[:5]
        old, new = (", ".join(f"{key}={values.get(key, MISSING)}" for key in keys) for values in (before, after))
        return Check(name, old, new, False)
    return Check(name, str(expected), str(actual), False)


def stored(path: str, md5: str) -> Check:
    try:
        return equal(path, md5, dvc_store.rehash(md5))
    except dvc_store.MissingBytes:
        return Check(path, md5, GONE, False)


def stored_files(path: str, md5: str, prefix: str = "") -> Iterator[Check]:
    """Each file of a path in the DVC store; one failed check if the listing of a folder is missing or damaged."""
    try:
        yield from (stored(f"{prefix}{name}", file_md5) for name, file_md5 in dvc_store.files(path, md5))
    except Refused as error:
        reason = GONE if isinstance(error, dvc_store.MissingBytes) else str(error)
        yield Check(f"{prefix}{path}", md5, reason, False)


def suppression_list(blobs: Blobs) -> suppression.Suppression:
    """The suppressed rows as they were listed when the version was made."""
    content = blobs.get("data/suppressed.json")
    return suppression.parse(content) if content is not None else suppression.NOTHING


def read_columns(md5: str, columns: list[str] | None) -> pd.DataFrame:
    """None reads all columns. Raises MissingBytes if the DVC store has lost the table."""
    table = dvc_store.table(md5, columns)
    if table is None:
        raise dvc_store.MissingBytes(GONE)
    return cast(pd.DataFrame, table.to_pandas())


def recorded_predictions(record: Record) -> pd.DataFrame | None:
    """The predictions that evaluation wrote; None if the DVC store has lost them."""
    table = dvc_store.table(record["pipeline"]["hashes"]["models/reports/predictions.parquet"], None)
    return None if table is None else cast(pd.DataFrame, table.to_pandas())
