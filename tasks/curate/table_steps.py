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
    source  where the row came from
    test    the data itself puts the row on the test side
    asked   of an example: a record asks the same
    cluster  the first row of those that are near-copies of each other, or ALONE
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from retune.data import text_keys
from retune.data.row_table import TEXT
from tasks.curate import planted_phrases
from tasks.curate.near_copies import ALONE
from tasks.curate.planted_phrases import Planted
from tasks.curate.row_steps import Context, Rejects
from tasks.curate.word_spool import NumberedWords, WordSpool, number_phrase, number_words

Array = np.ndarray[Any, Any]
KEYS = {"same": text_keys.same, "signed": text_keys.signed, "near": text_keys.near}
TEXTS = ("id", *KEYS)


@dataclass(frozen=True)
class Keys:
    rows: pd.DataFrame
    labels: list[str]  # the text of each number in the column label, where the task has labels; else nothing
    sources: list[str]  # the same of the column source
    words: WordSpool | None  # of all rows; None if no step asks for them

    def of(self, mask: Array) -> "Keys":
        return replace(self, rows=self.rows[mask])


TableStep = Callable[[Keys, Context], Rejects]


@dataclass(frozen=True)
class Hashes:
    """What is kept of the rows of a cleaned batch."""

    digests: dict[str, Array]  # of each key, shape (rows, 2)
    tests: Array
    labels: pa.Array
    sources: pa.Array
    words: NumberedWords | None  # where a step asks for them

    @classmethod
    def of(cls, batch: pa.RecordBatch, context: Context, steps: Sequence[str]) -> "Hashes":
        words = batch.column("words").to_pandas()
        digests_of = {
            name: digests(KEYS[name](words) if name in KEYS else batch.column(name).to_pylist())
            for name in _hashed(context)
        }
        answer = None if context.facts.has_labels else "label"
        numbers = number_words(batch, context.config.max_chars, answer) if _asks_for_words(context, steps) else None
        tests = batch.column("test").to_numpy(zero_copy_only=False)
        return cls(digests_of, tests, batch.column("label"), batch.column("source"), numbers)


def _hashed(context: Context) -> tuple[str, ...]:
    return TEXTS if context.facts.has_labels else (*TEXTS, *context.facts.answers)


def _asks_for_words(context: Context, steps: Sequence[str]) -> bool:
    return "suspicious_phrase" in steps and context.config.poison.phrases == "reject"


class KeyCollector:
    """Collects the keys of batches, which come in the order of their rows."""

    def __init__(self, context: Context, steps: Sequence[str]) -> None:
        self._words = WordSpool() if _asks_for_words(context, steps) else None
        self._sources: dict[str, int] = {}
        self._source_numbers: list[Array] = []
        self._has_labels = context.facts.has_labels
        self._hashed = _hashed(context)
        self._digests: dict[str, list[Array]] = {name: [] for name in self._hashed}
        self._tests: list[Array] = []
        self._labels: dict[str, int] = {}
        self._label_numbers: list[Array] = []

    def add(self, hashes: Hashes) -> None:
        for name, array in hashes.digests.items():
            self._digests[name].append(array)
        self._tests.append(hashes.tests)
        self._source_numbers.append(_number_names(hashes.sources, self._sources))
        if self._has_labels:
            self._label_numbers.append(_number_names(hashes.labels, self._labels))
        if self._words and hashes.words:
            self._words.add(hashes.words)

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
        columns["source"] = np.concatenate([np.empty(0, np.int32), *self._source_numbers])
        tests = np.concatenate([np.empty(0, np.bool_), *self._tests])
        return Keys(pd.DataFrame({**columns, "test": tests}), [*self._labels], [*self._sources], self._words)


def _number_names(names: pa.Array, numbers: dict[str, int]) -> Array:
    return np.array([numbers.setdefault(name, len(numbers)) for name in names.to_pylist()], dtype=np.int32)


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


def contradicts_accepted(keys: Keys, context: Context) -> Rejects:
    """What came in later gives way to what was there: else a delivery could knock out any row, by contradicting it.

    Where the part that came first has several labels for a text, nothing stands, and `conflicting_labels` speaks.
    """
    _, others = _parts(keys)
    contested = others[others["signed"].isin(_of_several_labels(others, "signed")["signed"])]
    part = pd.Series(np.searchsorted(context.parts, contested.index, side="right"), index=contested.index)
    first = contested[part == part.groupby(contested["signed"]).transform("min")]
    labels = first.drop_duplicates(["signed", "label"])
    accepted = labels[~labels["signed"].duplicated(keep=False)]
    firsts = accepted.assign(twin=accepted.index).set_index("signed")[["label", "twin"]]
    joined = contested.join(firsts.rename(columns={"label": "accepted"}), "signed")
    rejected = joined[joined["twin"].notna() & (joined["label"] != joined["accepted"])]
    return Rejects(rejected.index.to_numpy(), twins=rejected["twin"].to_numpy(dtype=np.int64))


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
    """Rows, of each label the first, that are near to each other and whose labels differ: no contradiction.

    Near are those of a cluster, where there are clusters, and otherwise texts that differ in signs alone.
    """
    name = "cluster" if "cluster" in keys.rows else "near"
    pairs = _of_several_labels(keys.rows if name == "near" else _in_clusters(keys.rows), name)
    return [[*rows] for rows in pairs.groupby(name).groups.values()]


def remaining_clusters(keys: Keys, count: int) -> Array:
    """Of each of `count` received rows the first row of its cluster among those of `keys`; ALONE if it has no other."""
    rows = _in_clusters(keys.rows)
    rows = rows[rows["cluster"].duplicated(keep=False)]
    clusters = np.full(count, ALONE)
    clusters[rows.index] = rows.index.to_series().groupby(rows["cluster"]).transform("min")
    return clusters


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


def near_copy_of_test(keys: Keys, context: Context) -> Rejects:
    """Like `copy_of_test` where there are labels, and like `prompt_of_test` where a model is to write."""
    test, others = map(_in_clusters, _parts(keys))
    return _twins(others, test, ["cluster", *(("label",) if context.facts.has_labels else ())])


def near_copy(keys: Keys, context: Context) -> Rejects:
    """Of near-copies with the same answer the first that arrived stays, beside those of the test side."""
    if context.config.near_copies.keep == "all":
        return Rejects(np.empty(0, np.int64))
    _, others = map(_in_clusters, _parts(keys))
    same = ["cluster", *context.facts.answers]
    return _twins(others[others.duplicated(same)], others, same)


def asked_by_a_record(keys: Keys, _context: Context) -> Rejects:
    """Of examples: the records have their own answer."""
    return _rejected(keys.rows["asked"])


def suspicious_phrase(keys: Keys, context: Context) -> Rejects:
    """Rows that look planted; `planted_phrases` says by what. Test rows are looked at too, and stay."""
    if not keys.words:
        return Rejects(np.empty(0, np.int64))
    labels, present = np.zeros(keys.words.rows, np.int64), np.zeros(keys.words.rows, np.bool_)
    is_other = np.zeros(keys.words.rows, np.bool_)
    present[keys.rows.index] = True
    if context.facts.has_labels:
        labels[keys.rows.index] = keys.rows["label"]
    else:
        _, answer, uses = np.unique(keys.words.answers()[present], return_inverse=True, return_counts=True)
        shared = uses >= planted_phrases.FEWEST
        labels[present] = np.where(shared, np.cumsum(shared) - 1, 0)[answer]
        is_other[present] = ~shared[answer]
    allow = [number_phrase(phrase) for phrase in context.config.poison.allow]
    phrases = planted_phrases.without(planted_phrases.search(keys.words, labels, is_other, present), allow)
    rows = planted_phrases.by_row(phrases)
    names = keys.words.names({word for phrase in phrases for word in phrase.words})
    places = sorted(place for place in rows if not keys.rows.at[place, "test"])
    details = [_evidence(rows[place], names, keys.labels) for place in places]
    return Rejects(np.array(places, dtype=np.int64), pa.array(details, TEXT))


def _evidence(phrase: Planted, names: dict[int, str], labels: list[str]) -> str:
    words = " ".join(names[word] for word in phrase.words)
    under, others = (f"under {labels[phrase.label]}", "labels") if labels else ("with one answer", "answers")
    return (
        f'"{words}" stands in {phrase.rows} rows, {phrase.labelled} of them {under}; the other words of'
        f" {phrase.against} speak for other {others}"
    )


def source_quota(keys: Keys, context: Context) -> Rejects:
    """What a source has beyond its share of the rows: its first rows stay. A source alone has no quota."""
    share, counts = context.config.poison.max_source_share, keys.rows["source"].value_counts()
    if share == 1 or len(counts) < 2:
        return Rejects(np.empty(0, np.int64))
    quota = ((len(keys.rows) - counts) * share / (1 - share)).astype("int64")
    _, others = _parts(keys)
    place = others.groupby("source").cumcount() + others["source"].map(keys.rows.groupby("source")["test"].sum())
    beyond = others.index[place >= others["source"].map(quota)]
    details = [f"{quota[source]} rows of {keys.sources[source]}" for source in others.loc[beyond, "source"]]
    return Rejects(beyond.to_numpy(), pa.array(details, TEXT))


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
        contradicts_accepted,
        conflicting_labels,
        contradicts_itself,
        exact_copy,
        near_copy_of_test,
        near_copy,
        asked_by_a_record,
        suspicious_phrase,
        source_quota,
        rare_label,
    )
}


def _parts(keys: Keys) -> Iterator[pd.DataFrame]:
    """The rows of the test side, and the others."""
    yield keys.rows[keys.rows["test"]]
    yield keys.rows[~keys.rows["test"]]


def _in_clusters(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["cluster"] != ALONE] if "cluster" in rows else rows.head(0).assign(cluster=ALONE)


def _rejected(mask: pd.Series) -> Rejects:
    return Rejects(mask.index[mask].to_numpy())


def _twins(rows: pd.DataFrame, others: pd.DataFrame, by: list[str]) -> Rejects:
    """Those of `rows` that equal a row of `others` in the columns `by`; the first such row is the twin."""
    first = others.drop_duplicates(by)
    places = first.assign(twin=first.index).set_index(by)["twin"]
    twins = rows.join(places, on=by)["twin"].dropna()
    return Rejects(twins.index.to_numpy(), twins=twins.to_numpy(dtype=np.int64))
