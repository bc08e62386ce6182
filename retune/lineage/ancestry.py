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

from retune.data import row_table, suppression
from retune.data.row_table import REJECTED
from retune.errors import Refused
from retune.lineage import history
from retune.lineage.parent_version import BASE, ParentVersion
from retune.system import dvc_store

START = "Start"  # the fact of the history: NAME/VERSION, or base; entries from before there was a choice have none
GENERAL = "General"  # the fact of the history: md5 of the general examples, if any were learned from; none is a row
LEARNED = ("train", "val")  # val chose the epoch, and a refit learned from it: whoever continues inherits both

Chains = dict[str, history.Chain]


class Incompatible(Refused):
    """Training cannot go on from that version; it can start from the base."""


class UnknownAncestor(Refused):
    """A version that was continued from is in no history, so nobody can say what it learned."""


@dataclass(frozen=True)
class Side:
    version: str  # NAME/VERSION
    side: str  # train, val, or general
    md5: str


def ancestors(entry: history.Entry, chains: Chains) -> list[history.Entry]:
    """The versions that this one continued from, the nearest first. `chains` are those that have been read already.

    Raises Lost if the history of one of them is not there.
    """
    found: list[history.Entry] = []
    name = entry.facts.get(START, BASE)
    while name != BASE:
        earlier = _registered(name, chains)
        if earlier is None or earlier in (entry, *found):
            raise UnknownAncestor(
                f"{entry.model}/{entry.version} continued from {name}, which the history does not know"
            )
        found.append(earlier)
        name = earlier.facts.get(START, BASE)
    return found


def _registered(name: str, chains: Chains) -> history.Entry | None:
    model, _, version = name.rpartition("/")
    if model not in chains:
        chains[model] = history.read(model)
    return chains[model].registered(int(version)) if version.isdigit() else None


def sides(start: ParentVersion) -> list[Side]:
    """Every side that a version which goes on from `start` inherits, the nearest version's first.

    Raises Unfit if the history says anything else of that version than `start` does.
    """
    chains: Chains = {}
    entry = _registered(start.name, chains)
    said = {
        "Seal": start.seal,
        "Record": start.record_commit,
        "Fingerprint": start.fingerprint,
        "Train": start.train_md5,
        "Val": start.val_md5,
    }
    facts = entry.facts if entry else {}
    if wrong := [fact for fact, value in said.items() if facts.get(fact) != value]:
        other = f"has another {', '.join(wrong)} of it than models/start.json" if entry else "does not know it"
        raise Incompatible(
            f"cannot continue from {start.name}: the history {other}; start from the base, or from another version"
        )
    assert entry
    return [
        Side(f"{each.model}/{each.version}", side, each.facts[side.capitalize()])
        for each in (entry, *ancestors(entry, chains))
        for side in (*LEARNED, *([GENERAL.lower()] if GENERAL in each.facts else []))
    ]


def suppressed_rows_learned(start: ParentVersion, listed: suppression.Suppression) -> dict[str, int]:
    """version -> rows of the list that it learned from, for `start` and what it continued from; empty: free of all.

    Raises Unfit where nobody can say.
    """
    if not listed.rows:
        return {}
    read = ((side, rows) for side, rows in _read(start, ["id"]) if side.side in LEARNED)
    return _counted((side, suppression.contains(listed, rows["id"])) for side, rows in read)


def forgotten(entry: history.Entry, listed: suppression.Suppression) -> int:
    """How many rows of the list that version learned from, itself or through the versions that it continued from.

    Raises Lost or store.Gone where nobody can say.
    """
    if not listed.rows:
        return 0
    md5s = {each.facts[side.capitalize()] for each in (entry, *ancestors(entry, {})) for side in LEARNED}
    tables = [pq.read_table(dvc_store.parquet(md5), columns=["id"]).to_pandas() for md5 in sorted(md5s)]
    ids = pd.concat(tables)["id"].drop_duplicates()
    return int(suppression.contains(listed, ids).sum())


def test_rows_learned(start: ParentVersion, test: pd.DataFrame) -> dict[str, int]:
    """version -> rows that it learned from and that are test rows now, by their id or by their words.

    A row keeps its side for good, unless its group, the params of split or the side that the data itself gives it
    changed. A score on rows that the weights know would be no score. Raises Unfit where nobody can say.

    Pairs of answers are tested beside rows that had one answer, whose ids are names of another table: there the words
    of the prompt decide alone. So they do of general examples, which are no rows.
    """
    texts = set(row_table.same_text(test["text"]))

    def known(side: Side, rows: pd.DataFrame) -> pd.Series:
        same = row_table.same_text(rows["text"]).isin(texts)
        of_one_table = side.side in LEARNED and (REJECTED in rows) == (REJECTED in test)
        return same | rows["id"].isin(set(test["id"])) if of_one_table else same

    return _counted((side, known(side, rows)) for side, rows in _read(start, ["id", "text", REJECTED]))


def check(start: ParentVersion, listed: suppression.Suppression, test: pd.DataFrame) -> None:
    """Raises Unfit, with the reason, if nothing may be continued from `start` and then scored on `test`."""
    instead = "start from another version" if REJECTED in test else "start from the base"
    if found := suppressed_rows_learned(start, listed):
        raise Incompatible(
            f"cannot continue from {start.name}: {told(found)} learned from rows that must not be learned from; "
            f"{instead}"
        )
    if found := test_rows_learned(start, test):
        raise Incompatible(
            f"cannot continue from {start.name}: {told(found)} learned from rows that are test rows now, so a score "
            f"on them would be none; {instead}"
        )


def _read(start: ParentVersion, columns: list[str]) -> Iterator[tuple[Side, pd.DataFrame]]:
    done: set[str] = set()
    try:
        for side in sides(start):
            if side.md5 not in done:  # neighbours often share their val
                done.add(side.md5)
                with pq.ParquetFile(dvc_store.parquet(side.md5)) as file:  # asks for those columns that there are
                    yield side, file.read(columns=columns).to_pandas()
    except (dvc_store.MissingBytes, UnknownAncestor, pa.ArrowException, OSError) as error:
        raise Incompatible(f"cannot continue from {start.name}: nobody can say what it learned from. {error}") from None


def _counted(masks: Iterator[tuple[Side, pd.Series]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for side, mask in masks:
        if count := int(mask.sum()):
            found[side.version] = found.get(side.version, 0) + count
    return found


def told(found: dict[str, int]) -> str:
    """How many rows each version learned from, in words."""
    return ", ".join(f"{version} ({count})" for version, count in found.items()) or "none"
