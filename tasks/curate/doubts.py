"""What a person should be told of the rows that stay: curation keeps them, for only a person knows what they mean."""

from collections import Counter, defaultdict
from typing import Any

import pyarrow as pa

from retune.data import messages, values
from retune.data.task_data import TaskData

EXAMPLES = 5  # row ids, and names of labels, that a sentence quotes
LISTED = 100  # pairs of near texts that the report lists
LONGEST = 64  # characters of a prompt that may be a word for nothing


class Doubts:
    """Counts them as the rows pass, and says them in a report and in warnings."""

    def __init__(self, facts: TaskData) -> None:
        self._seeks_near_copies = False
        self._facts = facts
        self._words: dict[str, Counter[str]] = {name: Counter() for name in ("id", "text", *facts.answers, "group")}
        self._ids: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._labels: Counter[str] = Counter()
        self._near: list[list[str]] = []

    def add(self, rows: pa.RecordBatch) -> None:
        """Look at a batch of clean rows."""
        ids = rows.column("id")
        for name, counts in self._words.items():
            for place, word in enumerate(rows.column(name).to_pylist()):
                plain = self._plain(word) if name == "text" and self._facts.text_is_messages else word
                if values.is_for_nobody(plain) if name == "group" else values.is_for_nothing(plain):
                    counts[plain] += 1
                    examples = self._ids[name, plain]
                    if len(examples) < EXAMPLES:
                        examples.append(ids[place].as_py())
        if self._facts.has_labels:
            self._labels.update(rows.column("label").to_pylist())

    def add_near(self, ids: list[list[str]], seeks_near_copies: bool = False) -> None:
        """Rows, of each label one, that are near-copies, or differ in signs alone where these are not sought."""
        self._near, self._seeks_near_copies = ids, seeks_near_copies

    def report(self) -> dict[str, Any]:
        """As curate.json holds them."""
        looks_missing = {
            name: {word: {"rows": count, "ids": self._ids[name, word]} for word, count in sorted(counts.items())}
            for name, counts in self._words.items()
            if counts
        }
        report: dict[str, Any] = {"look_missing": looks_missing}
        if self._facts.has_labels:
            report |= {
                "labels_alike": values.alike(self._labels),
                "several_labels": values.several(self._labels.keys()),
                "near_texts_of_other_labels": {"texts": len(self._near), "rows": self._near[:LISTED]},
            }
        return report

    def warnings(self) -> list[str]:
        """A sentence each: what was found, the values, and what to do."""
        report, sentences = self.report(), []
        for name, words in report["look_missing"].items():
            quotes = "; ".join(
                f"{word!r} {each['rows']} times (rows {', '.join(each['ids'])})" for word, each in words.items()
            )
            remedy = "to take them as empty cells, list them in curate.missing_words"
            if name == "id":
                remedy = "leave the cell empty in the source, and a row has an id of its content"
            sentences.append(
                f"words that look like missing values stand as {name}: {quotes}. They stay words; {remedy}"
            )
        for labels in report.get("labels_alike", []):
            counts = ", ".join(f"{label!r} {self._labels[label]}" for label in labels)
            last = max(labels, key=lambda label: (self._labels[label], label))
            mapping = ", ".join(f"{label!r}: {last!r}" for label in labels if label != last)
            sentences.append(
                f"labels differ only in case, white space or punctuation: {counts} rows. They are kept as"
                f" {len(labels)} labels; to make them one, set curate.merge_labels to {{{mapping}}}"
            )
        if several := report.get("several_labels"):
            named = ", ".join(f"{label!r} {self._labels[label]}" for label in several[:EXAMPLES])
            sentences.append(
                f"{len(several)} labels look like several labels in one cell: {named} rows. A row has one label, so"
                " each combination counts as a label of its own: keep one, or map them with curate.merge_labels"
            )
        if self._near:
            pairs = "; ".join(" and ".join(ids[:EXAMPLES]) for ids in self._near[:EXAMPLES])
            alike, reason = "texts equal others but for signs and have", "a sign may tell them apart"
            if self._seeks_near_copies:
                alike, reason = "clusters of near-copies have", "a word or a number may tell them apart"
            sentences.append(
                f"{len(self._near)} {alike} several labels: rows {pairs}. They stay, since {reason}; the report"
                " lists them"
            )
        return sentences

    @staticmethod
    def _plain(text: str) -> str:
        prompt = messages.parse(text) if len(text) < LONGEST else None
        return messages.words((prompt or [])[-1:])
