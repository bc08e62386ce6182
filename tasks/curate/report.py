"""The report of curation: what came, what stayed, and why the rest did not. Git keeps it, so it quotes no answer."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from retune.data import replay
from retune.data.label_verdicts import Verdicts
from retune.data.row_table import SPLITS
from retune.data.task_data import TaskData

EXAMPLES = 5  # row ids, and phrases, that a sentence quotes
LISTED = 100  # row ids, and phrases, that the report lists
Array = np.ndarray[Any, Any]


class Tally:
    """Counts rows as they pass."""

    def __init__(self, facts: TaskData, verdicts: Verdicts | None = None) -> None:
        self._facts = facts
        self.reviews = Reviews(verdicts or {})
        self.received: Counter[str] = Counter()  # by source
        self.stays: Counter[str] = Counter()  # by source
        self.reasons: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.personal: Counter[str] = Counter()  # values that were replaced, in all received rows, by type
        self.personal_rows = 0
        self.phrases: Counter[str] = Counter()  # what speaks against rejected rows that look planted
        self.splits: Counter[str] = Counter()  # that the data itself puts kept rows on

    def receive(self, batch: pa.RecordBatch) -> None:
        self.received.update(_counts(batch.column("source")))

    def redact(self, cleaned: pa.RecordBatch) -> None:
        for types in filter(None, cleaned.column("personal").to_pylist()):
            self.personal_rows += 1
            self.personal.update(types.split(" "))

    def sort(self, rows: pa.RecordBatch, rejects: pa.RecordBatch) -> None:
        self.stays.update(_counts(rows.column("source")))
        self.splits.update(_counts(rows.column("given")))
        self.reasons.update(_counts(rejects.column("reason")))
        planted = rejects.filter(pc.equal(rejects.column("reason"), "suspicious_phrase"))
        self.phrases.update(_counts(planted.column("detail")))
        if self._facts.has_labels:
            self.labels.update(_counts(rows.column("label")))
            self.reviews.sort(rows, rejects)

    def report(self) -> dict[str, Any]:
        """The numbers as curate.json holds them. Raises AssertionError if a row was lost or doubled."""
        received, stayed, rejected = self.received.total(), self.stays.total(), self.reasons.total()
        if stayed + rejected != received:
            raise AssertionError(f"{received} rows received, but {stayed} kept and {rejected} rejected")
        return {
            "received": received,
            "kept": stayed,
            "rejected": rejected,
            "reasons": {name: self.reasons[name] for name in self._facts.curation},
            "suspicious_phrases": [
                {"evidence": evidence, "rejected": rows} for evidence, rows in self.phrases.most_common(LISTED)
            ],
            "personal_data": {"rows": self.personal_rows, "values": dict(sorted(self.personal.items()))},
            "labels": dict(sorted(self.labels.items())),
            "sources": {
                source: {"received": count, "kept": self.stays[source]}
                for source, count in sorted(self.received.items())
            },
            "given": {split or "none": self.splits[split] for split in (*SPLITS, "")},
            **self.reviews.report(),
        }

    def warnings(self) -> list[str]:
        """A sentence on the rows that look planted, if there are any."""
        if not self.phrases:
            return []
        quotes = "; ".join(evidence for evidence, _ in self.phrases.most_common(EXAMPLES))
        return [
            f"{self.phrases.total()} rows look planted and were rejected as suspicious_phrase: {quotes}. Look at them"
            " in rejects.parquet; if a phrase is innocent, list it in curate.poison.allow"
        ]


class Reviews:
    """What became of people's verdicts on labels."""

    def __init__(self, verdicts: Verdicts) -> None:
        self._verdicts = verdicts
        self._counts: Counter[str] = Counter()
        self._outdated: list[str] = []  # ids of rows that stay as they are, since they changed after the review

    def sort(self, rows: pa.RecordBatch, rejects: pa.RecordBatch) -> None:
        if not self._verdicts:
            return
        for name, text, label in zip(*(rows.column(each).to_pylist() for each in ("id", "text", "label")), strict=True):
            if verdict := self._verdicts.get(name):
                if not verdict.in_force(text, label):
                    self._outdated.append(name)
                else:
                    self._counts["confirmed" if verdict.confirms else "relabelled"] += 1
        self._counts["dropped"] += rejects.column("reason").to_pylist().count("dropped_by_review")

    def report(self) -> dict[str, Any]:
        if not self._verdicts:
            return {}
        counts = {name: self._counts[name] for name in ("relabelled", "confirmed", "dropped")}
        return {
            "label_verdicts": {"rows": len(self._verdicts), **counts, "changed_since": sorted(self._outdated)[:LISTED]}
        }

    def warnings(self) -> list[str]:
        if not self._outdated:
            return []
        count, some = len(self._outdated), ", ".join(sorted(self._outdated)[:EXAMPLES])
        verdicts = "1 verdict on labels does" if count == 1 else f"{count} verdicts on labels do"
        return [
            f"{verdicts} not apply, as text or label changed after the review: {some}; `retune review labels export` "
            "lists those that are still doubtful"
        ]


def _counts(column: pa.Array) -> dict[str, int]:
    return {each["values"]: each["counts"] for each in pc.value_counts(column).to_pylist()}


def report_near_copies(clusters: Array, first_rows: Array, first_ids: pa.Array) -> dict[str, Any]:
    """How many rows that stay are near-copies, in how many clusters, and the largest of these by its first row."""
    members = clusters[np.isin(clusters, first_rows)]
    counts = np.bincount(np.searchsorted(first_rows, members), minlength=len(first_rows))
    largest = int(counts.argmax()) if len(counts) else None
    return {
        "clusters": len(first_rows),
        "rows": len(members),
        "largest": {"id": first_ids[largest].as_py(), "rows": int(counts[largest])} if largest is not None else None,
    }


def describe_near_copies(report: dict[str, Any]) -> str:
    largest = f"the largest has {report['largest']['rows']} rows, such as {report['largest']['id']}"
    return f"near-copies: {report['rows']} rows in {report['clusters']} clusters; {largest}"


def report_unreadable(rejects: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The rows that ingest could not read, by source and reason; they are none of the received rows."""
    sources, reasons = (Counter(each) for each in zip(*rejects, strict=True))
    return {"rows": len(rejects), "reasons": dict(sorted(reasons.items())), "sources": dict(sorted(sources.items()))}


def summary(report: dict[str, Any]) -> str:
    """What became of each row that came, in a line."""
    unreadable = report.get("unreadable", {"rows": 0})["rows"]
    counts = ", ".join(
        f"{name} {count}" for name, count in (report["reasons"] | {"unreadable": unreadable}).items() if count
    )
    line = f"kept {report['kept']} of {report['received'] + unreadable} rows"
    return f"{line}; rejected: {counts}" if counts else line


def report_general(
    files: Sequence[replay.File], examples: pd.DataFrame, clean_examples: pd.DataFrame, reasons: dict[str, int]
) -> dict[str, Any]:
    """Which files the general examples come from, and what became of them."""
    received, stayed = (Counter(table["source"]) for table in (examples, clean_examples))
    return {
        "files": {
            replay.file_name(file): {
                "path": file.path,
                "sha256": file.sha256,
                "received": received[replay.file_name(file)],
                "kept": stayed[replay.file_name(file)],
            }
            for file in files
        },
        "reasons": reasons,
    }
