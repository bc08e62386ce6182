"""Which versions saw these bytes, or this row.

Versions and what they learned from are read from the history, which needs no registry and is checked itself.
"""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from retune.data import label_verdicts, row_table, task_data
from retune.errors import Refused, WrongUse
from retune.lineage import ancestry, history
from retune.lineage.entry_facts import md5_fact
from retune.system import dvc_files, dvc_pipeline, dvc_store, git
from retune.system.files import file_md5

PARAMS, REJECTS = "params.yaml", "data/curated/rejects.parquet"
OF_A_TWIN = ("copy_of_test", "prompt_of_test", "contradicts_test", "contradicts_itself", *task_data.COPIES)
ROLES = ("raw", *row_table.SPLITS, "general")  # of bytes in the making of a version
READERS = 4

Row = dict[str, str]  # column -> value, as the row was then


@dataclass(frozen=True)
class Sighting:
    """One version that saw the target; `via` names the ancestor that did, if the version itself did not."""

    name: str
    version: int
    side: str
    aliases: list[str]
    served: list[dict[str, str | None]]
    content: Row | None = None
    via: str | None = None  # NAME/VERSION
    refit: bool | None = None  # of val: whether the version that saw it learned from val in the end; None if unknown


@dataclass(frozen=True)
class Rejection:
    """Why curate left a row out of these versions, NAME/VERSION."""

    reason: str
    detail: str
    versions: list[str]

    @property
    def twin(self) -> str | None:
        """The id of the row that stayed in its place."""
        return self.detail if self.reason in OF_A_TWIN else None


@dataclass(frozen=True)
class LabelVerdict:
    """What a person said of the row's label, which these versions, NAME/VERSION, learned it with."""

    before: str  # the label of the records
    after: str
    reviewer: str
    at: str
    versions: list[str]


@dataclass(frozen=True)
class SearchResult:
    """The versions that saw the target, those that did not, and those whose bytes are gone, as NAME/VERSION."""

    target: str
    versions: list[Sighting]
    free: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)  # of a row, by versions that are free of it
    verdicts: list[LabelVerdict] = field(default_factory=list)  # of a row


def data(target: str) -> SearchResult:
    """The versions that were made from, trained, validated or tested on these bytes: a path, or a DVC hash.

    What an ancestor was made from, trained and validated on counts for the version too; what it was tested on does
    not: no weights know of it.
    """
    md5 = _hash_of(target)
    registrations = list(_registrations())
    chains, listings = {chain.model: chain for chain, _ in registrations}, _Listings(md5)
    sightings: list[Sighting] = []
    untraceable: list[str] = []
    for chain, entry in registrations:
        ancestors, unknown = _ancestors(entry, chains)
        roles: dict[str, history.Entry] = {}  # role -> who saw it
        for each in (entry, *ancestors):
            for role in ROLES:
                if each is entry or role != "test":
                    contains = listings.contain(each.facts.get(md5_fact(role), ""))
                    unknown |= contains is None
                    if contains:
                        roles.setdefault(role, each)
        sightings += [_sighting(chain, entry, role, None, seen_by) for role, seen_by in roles.items()]
        untraceable += [entry.version_name] if unknown else []
    return SearchResult(md5, sightings, gone=untraceable)


def _sighting(
    chain: history.Chain, entry: history.Entry, role: str, content: Row | None, seen_by: history.Entry
) -> Sighting:
    aliases, served = chain.aliases(entry.version), chain.served(entry.version)
    via = None if seen_by is entry else seen_by.version_name
    refit = _refit(seen_by.commit) if role == "val" else None
    return Sighting(entry.model, entry.version, role, aliases, served, content, via, refit)


@cache
def _refit(commit: str) -> bool | None:
    """Whether the parameters of a recorded commit let the training learn from val too; None if it has none."""
    params = yaml.safe_load(git.blobs(commit, [PARAMS]).get(PARAMS, b"{}"))
    refit: bool | None = params.get("train", {}).get("refit")
    return refit


def _ancestors(entry: history.Entry, chains: ancestry.Chains) -> tuple[list[history.Entry], bool]:
    """The versions that one continued from, and whether the history lacks some of them."""
    try:
        return ancestry.ancestors(entry, chains), False
    except ancestry.UnknownAncestor:
        return [], True


class _Listings:
    """Whether a hash is `md5`, or a folder that contains it. Reads each folder's listing once."""

    def __init__(self, md5: str) -> None:
        self.md5, self.answers = md5, dict[str, bool | None]()

    def contain(self, folder_md5: str) -> bool | None:
        if folder_md5 not in self.answers:
            self.answers[folder_md5] = _contains(folder_md5, self.md5)
        return self.answers[folder_md5]


def _contains(folder_md5: str, md5: str) -> bool | None:
    """None if the listing of the folder is gone."""
    if folder_md5 == md5 or not folder_md5.endswith(".dir"):
        return folder_md5 == md5
    try:
        return md5 in dvc_store.listing(folder_md5).values()
    except Refused:
        return None


def _hash_of(target: str) -> str:
    if re.fullmatch(r"[0-9a-f]{32}(\.dir)?", target):
        return target
    path = Path(target)
    try:
        if path.is_file():
            return file_md5(path)
        if path.name and (pointer := path.with_name(f"{path.name}.dvc")).is_file():
            return dvc_files.pointer_md5(pointer)
    except OSError as error:
        raise WrongUse(f"{target[:100]} cannot be read: {error.strerror}") from None
    if md5 := dvc_pipeline.hashes().get(str(path)):
        return md5
    raise Refused(f"{target} is no hash of DVC's, no file, and no folder that DVC tracks: give one of these")


def row(name: str) -> SearchResult:
    """The versions that saw a row, in which split, and the row as it was. Reads each distinct split once.

    A version has also learned what its ancestors learned, whether its own splits hold the row or not.
    """
    registrations = list(_registrations())
    chains = {chain.model: chain for chain, _ in registrations}
    md5s = sorted({entry.facts.get(md5_fact(split), "") for _, entry in registrations for split in row_table.SPLITS})
    with ThreadPoolExecutor(READERS) as readers:
        rows = dict(zip(md5s, readers.map(lambda md5: _find(md5, name), md5s), strict=True))
    sightings: list[Sighting] = []
    seen_as: list[tuple[history.Entry, Row]] = []
    free: list[history.Entry] = []
    untraceable: list[str] = []
    for chain, entry in registrations:
        ancestors, unknown = _ancestors(entry, chains)
        matches, unreadable = _matches(entry, ancestors, rows)
        sightings += [_sighting(chain, entry, split, content, seen_by) for split, content, seen_by in matches]
        seen_as += [(entry, content) for _, content, seen_by in matches if seen_by is entry]
        if unknown or unreadable:
            untraceable.append(entry.version_name)
        elif not matches:
            free.append(entry)
    names = [entry.version_name for entry in free]
    return SearchResult(name, sightings, names, untraceable, _rejections(name, free), _verdicts(name, seen_as))


def _rejections(name: str, entries: Sequence[history.Entry]) -> list[Rejection]:
    """Why curate rejected the row for these versions, as far as the lists of rejects are there."""
    locks = git.objects([f"{entry.commit}:dvc.lock" for entry in entries])
    md5s = [dvc_pipeline.md5_in(lock.content, REJECTS) if lock else None for lock in locks]
    rejects = {md5: _find(md5, name) for md5 in dict.fromkeys(md5s) if md5}
    versions: dict[tuple[str, str], list[str]] = {}
    for entry, md5 in zip(entries, md5s, strict=True):
        if md5 and (row := rejects[md5]):
            versions.setdefault((row["reason"], row["detail"]), []).append(entry.version_name)
    return [Rejection(*why, names) for why, names in versions.items()]


def _verdicts(name: str, seen_as: Sequence[tuple[history.Entry, Row]]) -> list[LabelVerdict]:
    """What people had said of the row's label when these versions were made, where it is that label by their word."""
    blobs = git.objects([f"{entry.commit}:{label_verdicts.FILE}" for entry, _ in seen_as])
    versions: dict[tuple[str, str, str, str], list[str]] = {}
    for (entry, row), blob in zip(seen_as, blobs, strict=True):
        verdict = label_verdicts.parse(blob.content).get(name) if blob else None
        if verdict and verdict.after and verdict.in_force(row["text"], row["label"]):
            what = (verdict.before, verdict.after, verdict.reviewer, verdict.at)
            versions.setdefault(what, []).append(entry.version_name)
    return [LabelVerdict(*what, names) for what, names in versions.items()]


def _matches(
    entry: history.Entry, ancestors: list[history.Entry], rows: dict[str, Row | None]
) -> tuple[list[tuple[str, Row, history.Entry]], bool]:
    """(split, row, who saw it) of each split of a version or an ancestor with the row; and whether bytes are gone.

    An ancestor that learned the row with the same words as a later version is left out.
    """
    matches: list[tuple[str, Row, history.Entry]] = []
    learned, unreadable = set(), False
    for each in (entry, *ancestors):
        for split in row_table.SPLITS if each is entry else ancestry.LEARNED:
            content = rows.get(each.facts.get(md5_fact(split), ""))
            unreadable |= content is None
            if not content:
                continue
            words = (content["text"], content["label"])
            if each is entry or words not in learned:
                matches.append((split, content, each))
                learned |= {words} if split in ancestry.LEARNED else set()
    return matches, unreadable


def _registrations() -> Iterator[tuple[history.Chain, history.Entry]]:
    for name in history.names():
        chain = history.read(name)
        yield from ((chain, entry) for entry in chain.entries if entry.event == history.REGISTERED)


def _find(md5: str, name: str) -> Row | None:
    """The row of that id in a split; empty if the split does not hold it, None if the split's bytes are gone."""
    ids = dvc_store.table(md5, ["id"])
    if ids is None:
        return None
    position = pc.index(ids["id"], pa.scalar(name, ids["id"].type)).as_py()
    if position < 0:
        return {}
    table = dvc_store.table(md5, None)
    if table is None:
        return None
    return {key: str(value) for key, value in table.slice(position, 1).to_pylist()[0].items()}
