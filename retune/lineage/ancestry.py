"""What the weights of a version have learned from: its own sides, and those of every version that it continued from.

A version that started from the base knows its own rows only. One that continued from another has also learned
whatever that one had learned, all the way back to the base, even rows that its own sides no longer hold: training
goes on, it does not unlearn. The history says which version continued from which (its fact `Start`) and the hashes of
their sides, so the answers need no registry.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from retune.data import suppression, text_keys
from retune.data.row_table import REJECTED
from retune.errors import Refused
from retune.lineage import history
from retune.lineage.entry_facts import Fact, md5_fact
from retune.lineage.parent_version import BASE, ParentVersion
from retune.system import dvc_store

GENERAL = "general"
LEARNED = ("train", "val")  # val chose the epoch, and a refit learned from it: whoever continues inherits both

Chains = dict[str, history.Chain]


class Incompatible(Refused):
    """Training cannot go on from that version; it can start from the base."""


class UnknownAncestor(Refused):
    """A version that was continued from is in no history: what it learned is unknown."""


@dataclass(frozen=True)
class LearnedSplit:
    version: str  # NAME/VERSION
    split: str  # train, val, or general
    md5: str


def ancestors(entry: history.Entry, chains: Chains) -> list[history.Entry]:
    """The versions that this one continued from, the nearest first. `chains` are those that have been read already.

    Raises UnknownAncestor if the history of one of them is not there.
    """
    versions: list[history.Entry] = []
    name = entry.start or BASE
    while name != BASE:
        earlier = _registered(name, chains)
        if earlier is None or earlier in (entry, *versions):
            raise UnknownAncestor(f"{entry.version_name} continued from {name}, which the history does not know")
        versions.append(earlier)
        name = earlier.start or BASE
    return versions


def _registered(name: str, chains: Chains) -> history.Entry | None:
    model, _, version = name.rpartition("/")
    if model not in chains:
        chains[model] = history.read(model)
    return chains[model].registered(int(version)) if version.isdigit() else None


def learned_splits(start: ParentVersion) -> list[LearnedSplit]:
    """Every side that a version which goes on from `start` inherits, the nearest version's first.

    Raises Incompatible if the history says anything else of that version than `start` does.
    """
    chains: Chains = {}
    entry = _registered(start.name, chains)
    expected = {
        Fact.SEAL: start.seal,
        Fact.RECORD: start.record_commit,
        Fact.FINGERPRINT: start.fingerprint,
        Fact.TRAIN: start.train_md5,
        Fact.VAL: start.val_md5,
    }
    facts = entry.facts if entry else {}
    if wrong := [fact for fact, value in expected.items() if facts.get(fact) != value]:
        problem = f"has another {', '.join(wrong)} of it than models/start.json" if entry else "does not know it"
        raise Incompatible(
            f"cannot continue from {start.name}: the history {problem}; start from the base, or from another version"
        )
    assert entry
    return [
        LearnedSplit(each.version_name, split, each.facts[md5_fact(split)])
        for each in (entry, *ancestors(entry, chains))
        for split in (*LEARNED, *([GENERAL] if Fact.GENERAL in each.facts else []))
    ]


def suppressed_rows_learned(start: ParentVersion, suppressed: suppression.Suppression) -> dict[str, int]:
    """version -> rows of the list that it learned from, for `start` and what it continued from; empty: free of all.

    Raises Incompatible where it is unknown.
    """
    if not suppressed.rows:
        return {}
    splits = ((split, rows) for split, rows in _read(start, ["id"]) if split.split in LEARNED)
    return _counted((split, suppression.contains(suppressed, rows["id"])) for split, rows in splits)


def count_suppressed_rows(entry: history.Entry, suppressed: suppression.Suppression) -> int:
    """How many rows of the list that version learned from, itself or through the versions that it continued from.

    Raises UnknownAncestor or MissingBytes where it is unknown.
    """
    if not suppressed.rows:
        return 0
    md5s = {each.facts[md5_fact(split)] for each in (entry, *ancestors(entry, {})) for split in LEARNED}
    tables = [pq.read_table(dvc_store.parquet(md5), columns=["id"]).to_pandas() for md5 in sorted(md5s)]
    ids = pd.concat(tables)["id"].drop_duplicates()
    return int(suppression.contains(suppressed, ids).sum())


def test_rows_learned(start: ParentVersion, test: pd.DataFrame) -> dict[str, int]:
    """version -> rows that it learned from and that are test rows now, by their id or by their words.

    A row keeps its side for good, unless its group, the params of split or the side that the data itself gives it
    changed. A score on rows that the weights know would be no score. Raises Incompatible where it is unknown.

    Pairs of answers are tested beside rows that had one answer, whose ids are names of another table: there the words
    of the prompt decide alone. So they do of general examples, which are no rows.
    """
    texts = set(text_keys.near(test["text"]))

    def matches(split: LearnedSplit, rows: pd.DataFrame) -> pd.Series:
        same = text_keys.near(rows["text"]).isin(texts)
        of_one_table = split.split in LEARNED and (REJECTED in rows) == (REJECTED in test)
        return same | rows["id"].isin(set(test["id"])) if of_one_table else same

    return _counted((split, matches(split, rows)) for split, rows in _read(start, ["id", "text", REJECTED]))


def check(start: ParentVersion, suppressed: suppression.Suppression, test: pd.DataFrame) -> None:
    """Raises Incompatible, with the reason, if nothing may be continued from `start` and then scored on `test`."""
    instead = "start from another version" if REJECTED in test else "start from the base"
    if counts := suppressed_rows_learned(start, suppressed):
        raise Incompatible(
            f"cannot continue from {start.name}: {describe_counts(counts)} learned from rows that must not be "
            f"learned from; {instead}"
        )
    if counts := test_rows_learned(start, test):
        raise Incompatible(
            f"cannot continue from {start.name}: {describe_counts(counts)} learned from rows that are test rows "
            f"now, so a score on them would be none; {instead}"
        )


def _read(start: ParentVersion, columns: list[str]) -> Iterator[tuple[LearnedSplit, pd.DataFrame]]:
    md5s: set[str] = set()
    try:
        for split in learned_splits(start):
            if split.md5 not in md5s:  # neighbours often share their val
                md5s.add(split.md5)
                with pq.ParquetFile(dvc_store.parquet(split.md5)) as file:  # asks for those columns that there are
                    yield split, file.read(columns=columns).to_pandas()
    except (dvc_store.MissingBytes, UnknownAncestor, pa.ArrowException, OSError) as error:
        raise Incompatible(f"cannot continue from {start.name}: what it learned from is unknown. {error}") from None


def _counted(masks: Iterator[tuple[LearnedSplit, pd.Series]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for split, mask in masks:
        if count := int(mask.sum()):
            counts[split.version] = counts.get(split.version, 0) + count
    return counts


def describe_counts(counts: dict[str, int]) -> str:
    """How many rows each version learned from, for people."""
    return ", ".join(f"{version} ({count})" for version, count in counts.items()) or "none"
