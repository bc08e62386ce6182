"""Which versions saw these bytes, or this row.

Versions and what they learned from are read from the history, which needs no registry and is checked itself.
"""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from retune.data import row_table
from retune.errors import Refused, WrongUse
from retune.lineage import ancestry, history
from retune.system import dvc_pipeline, dvc_store
from tasks.trace.checks import md5_of

ROLES = {
    "Raw": "raw",
    "Train": "train",
    "Val": "val",
    "Test": "test",
    ancestry.GENERAL: "general",
}  # facts of the history
READERS = 4


@dataclass(frozen=True)
class Seen:
    """One version that saw what was asked for; `via`: not itself, but a version that it continued from."""

    name: str
    version: int
    side: str
    aliases: list[str]
    served: list[dict[str, str | None]]
    content: dict[str, str] | None = None  # the row as it was then
    via: str | None = None  # NAME/VERSION


@dataclass(frozen=True)
class Answer:
    """Who saw it, who did not, and of whom nobody can say any more."""

    asked: str
    versions: list[Seen]
    free: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


def data(target: str) -> Answer:
    """The versions that were made from, trained, validated or tested on these bytes: a path, or a hash of DVC's.

    What a version continued from was made from, trained and validated on counts as its own; what it was tested on
    does not: no weights know of it.
    """
    md5 = _hash_of(target)
    registered = list(_registrations())
    chains, holds = {told.model: told for told, _ in registered}, _Holds(md5)
    seen: list[Seen] = []
    gone: list[str] = []
    for told, entry in registered:
        before, lost = _before(entry, chains)
        found: dict[str, str | None] = {}  # role -> via
        for each in (entry, *before):
            for fact, role in ROLES.items():
                if each is entry or role != "test":
                    answer = holds.ask(each.facts.get(fact, ""))
                    lost |= answer is None
                    if answer:
                        found.setdefault(role, None if each is entry else f"{each.model}/{each.version}")
        aliases, served = told.aliases(entry.version), told.served(entry.version)
        seen += [Seen(entry.model, entry.version, role, aliases, served, via=via) for role, via in found.items()]
        gone += [f"{entry.model}/{entry.version}"] if lost else []
    return Answer(md5, seen, gone=gone)


def _before(entry: history.Entry, chains: ancestry.Chains) -> tuple[list[history.Entry], bool]:
    """The versions that one continued from, and whether some of them are lost."""
    try:
        return ancestry.ancestors(entry, chains), False
    except ancestry.UnknownAncestor:
        return [], True


class _Holds:
    """Whether a hash is `md5`, or that of a folder with these bytes in it. Each listing is read once."""

    def __init__(self, md5: str) -> None:
        self.md5, self.known = md5, dict[str, bool | None]()

    def ask(self, own: str) -> bool | None:
        if own not in self.known:
            self.known[own] = _holds(own, self.md5)
        return self.known[own]


def _holds(own: str, md5: str) -> bool | None:
    """Whether a hash is this one, or that of a folder with these bytes in it; None if its listing is gone."""
    if own == md5 or not own.endswith(".dir"):
        return own == md5
    try:
        return md5 in dvc_store.listing(own).values()
    except Refused:
        return None


def _hash_of(target: str) -> str:
    if re.fullmatch(r"[0-9a-f]{32}(\.dir)?", target):
        return target
    path = Path(target)
    try:
        if path.is_file():
            return md5_of(path.read_bytes())
        if path.name and (pointer := path.with_name(f"{path.name}.dvc")).is_file():
            return str(yaml.safe_load(pointer.read_text("utf-8"))["outs"][0]["md5"])
    except OSError as error:
        raise WrongUse(f"{target[:100]} cannot be read: {error.strerror}") from None
    if md5 := dvc_pipeline.hashes().get(str(path)):
        return md5
    raise Refused(f"{target} is no hash of DVC's, no file, and no folder that DVC tracks: give one of these")


def row(name: str) -> Answer:
    """The versions that saw a row, on which side, and the row as it was. Each distinct split is read once.

    A version that continued from another has learned what that one learned, whether its own sides hold the row or not.
    """
    registered = list(_registrations())
    chains = {told.model: told for told, _ in registered}
    wanted = {entry.facts.get(role.capitalize(), "") for _, entry in registered for role in row_table.SPLITS}
    with ThreadPoolExecutor(READERS) as readers:
        found = dict(zip(sorted(wanted), readers.map(lambda md5: _find(md5, name), sorted(wanted)), strict=True))
    seen, free, gone = [], [], []
    for told, entry in registered:
        before, lost = _before(entry, chains)
        on, unknown = _where(entry, before, found)
        for side, content, via in on:
            served, aliases = told.served(entry.version), told.aliases(entry.version)
            seen.append(Seen(entry.model, entry.version, side, aliases, served, content, via))
        if lost or unknown:
            gone.append(f"{entry.model}/{entry.version}")
        elif not on:
            free.append(f"{entry.model}/{entry.version}")
    return Answer(name, seen, free, gone)


def _where(
    entry: history.Entry, before: list[history.Entry], found: dict[str, dict[str, str] | None]
) -> tuple[list[tuple[str, dict[str, str], str | None]], bool]:
    """(side, the row as it was, via) for each side of a version, or of one before it, that holds the row; and whether
    the bytes of any of these sides are gone. What was learned again as it was is told once.
    """
    on: list[tuple[str, dict[str, str], str | None]] = []
    learned, unknown = set(), False
    for each in (entry, *before):
        for side in row_table.SPLITS if each is entry else ancestry.LEARNED:
            content = found.get(each.facts.get(side.capitalize(), ""))
            unknown |= content is None
            taught = (content["text"], content["label"]) if content else None
            if content and (each is entry or taught not in learned):
                on.append((side, content, None if each is entry else f"{each.model}/{each.version}"))
                learned |= {taught} if side in ancestry.LEARNED else set()
    return on, unknown


def _registrations() -> Iterator[tuple[history.Chain, history.Entry]]:
    for name in history.names():
        told = history.read(name)
        yield from ((told, entry) for entry in told.entries if entry.event == history.REGISTERED)


def _find(md5: str, name: str) -> dict[str, str] | None:
    """The row of that id in a split; empty if it is not there, None if the split's bytes are gone."""
    ids = dvc_store.table(md5, ["id"])
    if ids is None:
        return None
    at = pc.index(ids["id"], pa.scalar(name, ids["id"].type)).as_py()
    if at < 0:
        return {}
    whole = dvc_store.table(md5, None)
    return None if whole is None else {key: str(value) for key, value in whole.slice(at, 1).to_pylist()[0].items()}
