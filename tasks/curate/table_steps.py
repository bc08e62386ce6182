"""The curation steps that compare a row with others.

No text is held for them. While the rows stream by, `KeyCollector` keeps a few numbers of each: 128 bits of hash a
text (two texts that differ share one with a chance of 1 in 10^26 among a million), and whether the row stands on the
test side. A `TableStep` gets these keys of the rows that are left, in the order in which the rows came, and says which
to reject:

    def exact_copy(keys: Keys, context: Context) -> Rejects: ...

`keys.rows` is a frame whose index is the row's place among all received rows. Equal numbers in a column are equal
values:

    id      the id, as received
    same, signed, near    the words of text or prompt, in the strengths of `retune.data.text_keys`
    label, rejected    the cleaned answers; one number means the same in both
    test    the data itself puts the row on the test side
    asked   of an example: a record asks the same
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from retune.data import text_keys
from retune.data.row_table import TEXT
from tasks.curate.row_steps import Context, Rejects

Array = np.ndarray[Any, Any]
KEYS = {"same": text_keys.same, "signed": text_keys.signed, "near": text_keys.near}
TEXTS = ("id", *KEYS)


@dataclass(frozen=True)
class Keys:
    rows: pd.DataFrame
    labels: list[str]  # the text of each number in the column label, where the task has labels; else nothing

    def of(self, mask: Array) -> "Keys":
        return replace(self, rows=self.rows[mask])


TableStep = Callable[[Keys, Context], Rejects]


class KeyCollector:
    """Collects the keys of cleaned batches, which come in the order of their rows."""

    def __init__(self, context: Context) -> None:
        self._has_labels = context.facts.has_labels
        self._hashed = TEXTS if self._has_labels else (*TEXTS, *context.facts.answers)
        self._digests: dict[str, list[Array]] = {name: [] for name in self._hashed}
        self._tests: list[Array] = []
        self._labels: dict[str, int] = {}
        self._label_numbers: list[Array] = []

    def add(self, batch: pa.RecordBatch) -> None:
        words = batch.column("words").to_pandas()
        for name in self._hashed:
            key = KEYS[name](words) if name in KEYS else batch.column(name).to_pylist()
            self._digests[name].append(digests(key))
        self._tests.append(batch.column("test").to_numpy(zero_copy_only=False))
        if self._has_labels:
            labels = batch.column("label").to_pylist()
            numbers = [self._labels.setdefault(label, len(self._labels)) for label in labels]
            self._label_numbers.append(np.array(numbers, dtype=np.int32))

    def text_digests(self) -> Array:
        """Of the words of every row, whatever becomes of it. Shape (rows, 2)."""
        return _joined(self._digests["near"])

    def keys(self) -> Keys:
        columns = {name: numbered(_joined(self._digests[name])) for name in TEXTS}
        answers = self._hashed[len(TEXTS) :]
        together = numbered(np.concatenate([_joined(self._digests[name]) for name in answers])) if answers else None
        count = len(columns["id"])
        for place, name in enumerate(answers):
            assert together is not None
            columns[name] = together[place * count : (place + 1) * count]
        if self._has_labels:
            columns["label"] = np.concatenate([np.empty(0, np.int32), *self._label_numbers])
        tests = np.concatenate([np.empty(0, np.bool_), *self._tests])
        return Keys(pd.DataFrame({**columns, "test": tests}), [*self._labels])


def digests(texts: Iterable[str]) -> Array:
    """128 bits of each text. Shape (texts, 2), unsigned 64-bit numbers."""
    hashes = b"".join(hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest() for text in texts)
    return np.frombuffer(hashes, dtype="<u8").reshape(-1, 2)


def numbered(values: Array) -> Array:
    """A number for each digest, the same for equal ones."""
    order = np.lexsort((values[:, 1], values[:, 0]))
    ordered = values[order]
    differs = (ordered[1:] != ordered[:-1]).any(axis=1)
    numbers = np.zeros(len(values), dtype=np.int32)
    numbers[order[1:]] = np.cumsum(differs)
    return numbers


def among(values: Array, others: Array) -> Array:
    """For each digest of `values` whether it is one of `others`."""
    numbers = numbered(np.concatenate([values, others]))
    return np.isin(numbers[: len(values)], numbers[len(values) :])


def _joined(parts: list[Array]) -> Array:
    return np.concatenate([np.empty((0, 2), dtype="<u8"), *parts])


def superseded(keys: Keys, _context: Context) -> Rejects:
    """A row arrived again under the same id: the newest is its present state."""
    return _rejected(keys.rows["id"].duplicated(keep="last"))


def copy_of_test(keys: Keys, context: Context) -> Rejects:
    test, others = _parts(keys)
    return _twins(others, test, ["near", *context.facts.answers])


def prompt_of_test(keys: Keys, _context: Context) -> Rejects:
    """What shares a test row's prompt and is no copy of it has another answer: no contradiction, but it leaks."""
    test, others = _parts(keys)
    return _twins(others, test, ["near"])


def contradicts_test(keys: Keys, _context: Context) -> Rejects:
    """Runs after `copy_of_test`, so what still shares a test row's text has another label.

    A sign makes another text: what is no more than near stays.
    """
    test, others = _parts(keys)
    return _twins(others, test, ["signed"])


def conflicting_labels(keys: Keys, _context: Context) -> Rejects:
    """One text under two labels: which of them is right is unknown, so none of its rows stays."""
    _, others = _parts(keys)
    pairs = _of_several_labels(others, "signed")
    labels = {
        text: " | ".join(sorted(keys.labels[number] for number in numbers))
        for text, numbers in pairs.groupby("signed")["label"]
    }
    rejected = others.loc[others["signed"].isin(pairs["signed"]), "signed"]
    return Rejects(rejected.index.to_numpy(), pa.array([labels[text] for text in rejected], TEXT))


def near_labels(keys: Keys) -> list[list[int]]:
    """Rows, of each label the first, whose texts differ in signs alone and whose labels differ: no contradiction."""
    pairs = _of_several_labels(keys.rows, "near")
    return [[*rows] for rows in pairs.groupby("near").groups.values()]


def _of_several_labels(rows: pd.DataFrame, text: str) -> pd.DataFrame:
    """The first row of each text and label, of texts that have several."""
    pairs = rows[[text, "label"]].drop_duplicates()
    return pairs[pairs[text].duplicated(keep=False)]


def contradicts_itself(keys: Keys, _context: Context) -> Rejects:
    """One pair given both ways round: which answer is better is unknown, so none of its rows stays."""
    _, others = _parts(keys)
    turned = others.rename(columns={"label": "rejected", "rejected": "label"})
    return _twins(others, turned, ["same", "label", "rejected"])


def exact_copy(keys: Keys, context: Context) -> Rejects:
    _, others = _parts(keys)
    same = ["same", *context.facts.answers]
    return _twins(others[others.duplicated(same)], others, same)


def asked_by_a_record(keys: Keys, _context: Context) -> Rejects:
    """Of examples: the records have their own answer."""
    return _rejected(keys.rows["asked"])


def rare_label(keys: Keys, context: Context) -> Rejects:
    """Counts test rows too: a label that the yardstick uses is no typing error. They stay in any case."""
    counts = keys.rows.groupby("label")["id"].transform("size")[~keys.rows["test"]]
    rare = counts[counts < getattr(context.config, "min_label_rows", 0)]
    return Rejects(rare.index.to_numpy(), pa.array(rare.astype("str").to_list(), TEXT))


TABLE_STEPS: dict[str, TableStep] = {
    step.__name__: step
    for step in (
        superseded,
        copy_of_test,
        prompt_of_test,
        contradicts_test,
        conflicting_labels,
        contradicts_itself,
        exact_copy,
        asked_by_a_record,
        rare_label,
    )
}


def _parts(keys: Keys) -> Iterator[pd.DataFrame]:
    """The rows of the test side, and the others."""
    yield keys.rows[keys.rows["test"]]
    yield keys.rows[~keys.rows["test"]]


def _rejected(mask: pd.Series) -> Rejects:
    return Rejects(mask.index[mask].to_numpy())


def _twins(rows: pd.DataFrame, others: pd.DataFrame, by: list[str]) -> Rejects:
    """Those of `rows` that equal a row of `others` in the columns `by`; the first such row is the twin."""
    first = others.drop_duplicates(by)
    places = first.assign(twin=first.index).set_index(by)["twin"]
    twins = rows.join(places, on=by)["twin"].dropna()
    return Rejects(twins.index.to_numpy(), twins=twins.to_numpy(dtype=np.int64))
