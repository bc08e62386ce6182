"""Rows whose label is `__other__`: texts of none of the labels, kept apart for evaluation and never learned from.

They leave curation as rejects of the reason `out_of_scope`, so each is counted. data/curated/out_of_scope.parquet holds
id and text of those that evaluation may ask a model: each text once, without personal data, and none that stands under
a label too, since such a text says nothing about texts of no label.
"""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from retune.data import row_table, text_keys

REASON = "out_of_scope"
EXAMPLES = 5  # row ids that a sentence quotes
LISTED = 100  # row ids that the report lists


class OutOfScope:
    """Gathers them as the rejects pass."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._texts: list[str] = []
        self._in_scope: list[str] = []  # ids

    def add(self, rejects: pa.RecordBatch) -> None:
        rows = rejects.filter(pc.equal(rejects.column("reason"), REASON))
        self._ids += rows.column("id").to_pylist()
        self._texts += rows.column("text").to_pylist()

    def write(self, curated: Path, batch_rows: int) -> None:
        """Write the file. rows.parquet has to be there: texts that stand in it too are left out."""
        rows = pd.DataFrame({"id": self._ids, "text": self._texts}, dtype="str")
        keys = text_keys.same(rows["text"].map(row_table.clean).astype("str"))
        is_in_scope = keys.isin(self._keys_in_scope(set(keys), curated, batch_rows) if len(keys) else set())
        self._in_scope = rows["id"][is_in_scope].tolist()
        row_table.write(
            rows[~is_in_scope & ~keys.duplicated()].reset_index(drop=True), curated / "out_of_scope.parquet"
        )

    @staticmethod
    def _keys_in_scope(keys: set[str], curated: Path, batch_rows: int) -> set[str]:
        shared: set[str] = set()
        for batch in row_table.batches(curated / "rows.parquet", ["text"], batch_rows):
            texts = batch.column("text").to_pandas().map(row_table.clean).astype("str")
            shared |= keys & set(text_keys.same(texts))
        return shared

    def report(self) -> dict[str, Any]:
        """As curate.json holds it; nothing where no row came with that label."""
        if not self._ids:
            return {}
        in_scope = sorted(self._in_scope)
        return {REASON: {"rows": len(self._ids), "in_scope": {"rows": len(in_scope), "ids": in_scope[:LISTED]}}}

    def warnings(self) -> list[str]:
        if not self._in_scope:
            return []
        some = ", ".join(sorted(self._in_scope)[:EXAMPLES])
        return [
            f"{len(self._in_scope)} rows of the label {row_table.OTHER} have a text that stands under a label too, so "
            f"evaluation does not ask them: {some}. Correct one of the two"
        ]
