"""Answers for an auditor: what made this version, which versions saw these bytes or this row, what differs.

Nothing is believed because it was written down. A link holds if what it names was computed again now, from the
bytes in the DVC store, the model's files, the base, git's objects and the registry, and is equal. Which versions
there are, and what they learned from, is read from the history, which needs no registry and is checked itself.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from retune.config import params, renames
from retune.data import row_table, suppression, task_data
from retune.errors import Refused, RetuneError, WrongUse
from retune.evaluation import task_metrics
from retune.lineage import ancestry, checksums, history, parent_version, record
from retune.lineage.check import Check
from retune.lineage.record import Record
from retune.models import base_model
from retune.promotion import gate, gate_record, latency
from retune.registry import versions
from retune.system import dvc_pipeline, dvc_store, git
from retune.system.files import bytes_md5, file_md5, file_sha256

GONE, MISSING = "bytes gone, hash kept", "missing"
ROLES = {
    "Raw": "raw",
    "Train": "train",
    "Val": "val",
    "Test": "test",
    ancestry.GENERAL: "general",
}  # facts of the history
FACTS = {"Record": "record.commit", "Evidence": "evidence", "Seal": "seal", "Signer": "signer", ancestry.START: "start"}
DETAILS = "models/reports/details.json"
IN_GIT = ("dvc.lock", "params.yaml", "requirements.lock")
READERS = 4


@dataclass(frozen=True)
class Trace:
    """A version's whole way back, link by link."""

    name: str
    version: int
    links: list[Check]
    record: Record

    @property
    def ok(self) -> bool:
        return all(link.ok for link in self.links)


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


# ---------------------------------------------------------------- the way back


def model(version: versions.Version) -> Trace:
    """Every link from a version back to its raw data. Raises Refused if it has no record that can be read."""
    folder = versions.version_folder(version)
    made = record.read(folder / record.FILE)
    kept = git.blobs(made["code"]["record_commit"], [*IN_GIT, *made["pipeline"]["hashes"]])
    links = [
        _equal("record", version.tags.get("evidence", MISSING), file_sha256(folder / record.FILE)),
        *(replace(link, name=f"model/{link.name}") for link in versions.integrity(version, folder)),
        *_files_of_record(made, folder),
        *_registry(version, made),
        *_base(made),
        *_start(made, kept),
        *_commit(made, kept),
        *_bytes(made, kept),
        *_raw(made),
        *_sides(made, kept),
        *_general(made),
        *_scores(made),
        *_gate(made, folder),
    ]
    return Trace(version.name, version.version, links, made)


def _equal(name: str, expected: Any, found: Any) -> Check:
    return Check(name, str(expected), str(found), expected == found)


def _files_of_record(made: Record, folder: Path) -> Iterator[Check]:
    """The record's own list of the model's files, beside the checksums that the seal covers."""
    found = checksums.contents(folder)
    wrong = {name: found.get(name, MISSING) for name, said in made["files"].items() if found.get(name) != said}
    yield Check(
        "files in the record",
        f"{len(made['files'])} equal",
        ", ".join(f"{name} {said}" for name, said in wrong.items()) or f"{len(made['files'])} equal",
        not wrong,
    )


def _registry(version: versions.Version, made: Record) -> Iterator[Check]:
    """The tags of the version and its entry in the history, beside the record."""
    chain = history.read(version.name)
    entry = chain.registered(version.version)
    yield _equal("record of this name", version.name, made["name"])
    yield _equal("fingerprint", version.tags.get("fingerprint"), made["fingerprint"])
    for fact, tag in FACTS.items():
        yield _equal(f"history {fact.lower()}", entry.facts.get(fact) if entry else MISSING, version.tags.get(tag))
    md5s = {"Raw": made["data"]["raw"]["md5"], **{s.capitalize(): v["md5"] for s, v in made["data"]["sides"].items()}}
    for fact, md5 in md5s.items():
        yield _equal(f"history {fact.lower()}", entry.facts.get(fact) if entry else MISSING, md5)
        yield _equal(f"tag data.{fact.lower()}", version.tags.get(f"data.{fact.lower()}"), md5)
    if made["data"].get("general", {}).get("learned"):
        found = entry.facts.get(ancestry.GENERAL) if entry else MISSING
        yield _equal("history general", found, made["data"]["general"]["md5"])
    begins = parent_version.of_record(made)
    yield _equal(
        "start in the history",
        entry.facts.get(ancestry.START, parent_version.BASE) if entry else MISSING,
        _name(begins),
    )
    yield _equal("record commit", made["code"]["record_commit"], version.tags.get("record.commit"))
    live = version.aliases
    told = chain.aliases(version.version)
    if history.CHAMPION in live or history.CHAMPION in told:
        yield Check("alias champion", str(history.CHAMPION in told), str(history.CHAMPION in live), told == list(live))


def _base(made: Record) -> Iterator[Check]:
    name = made["base"]["name"]
    try:
        folder = base_model.find(name)
    except RetuneError as error:
        yield Check(f"base {name}", made["base"]["sha256"], f"{MISSING}: {error}", False)
        return
    found = base_model.hashes(folder)
    for file in sorted(made["base"]["files"] | found):
        yield _equal(f"base/{file}", made["base"]["files"].get(file, "nothing"), found.get(file, MISSING))
    yield _equal("base weights", made["base"]["sha256"], base_model.weights_sha256(folder))


def _start(made: Record, kept: dict[str, bytes]) -> Iterator[Check]:
    """Where training started: the file that said so and, of a version, its record, its bytes and what it learned."""
    begins = parent_version.of_record(made)
    if "start" in made["training"] or str(parent_version.FILE) in kept:
        try:
            said = parent_version.as_dict(parent_version.parse(kept[str(parent_version.FILE)]))
        except (KeyError, Refused) as error:
            said = {"from": MISSING if isinstance(error, KeyError) else str(error)}
        yield _same("start", parent_version.as_dict(begins), said)
    if begins:
        yield from _record_of_start(begins)
        hashes = {
            parent_version.MODEL: begins.model_md5,
            parent_version.TRAIN: begins.train_md5,
            parent_version.VAL: begins.val_md5,
        }
        for path, md5 in hashes.items():
            try:
                yield from (_stored(f"start/{name}", own) for name, own in dvc_store.files(path, md5))
            except Refused as error:  # a folder whose listing is gone or damaged
                yield Check(
                    f"start/{path}", md5, GONE if isinstance(error, dvc_store.MissingBytes) else str(error), False
                )
        yield from _inherited_rows(begins, made, kept)


def _name(begins: parent_version.ParentVersion | None) -> str:
    return begins.name if begins else parent_version.BASE


def _record_of_start(begins: parent_version.ParentVersion) -> Iterator[Check]:
    """The record of the version that was continued from, which the history vouches for, names the same hashes."""
    try:
        version = versions.resolve(begins.name)
        entry = history.read(version.name).registered(version.version)
        path, facts = versions.version_folder(version) / record.FILE, entry.facts if entry else {}
        yield _equal(f"record of {begins.name}", facts.get("Evidence", MISSING), file_sha256(path))
        theirs = parent_version.start_of(begins.name, facts.get("Seal", MISSING), record.read(path))
        yield _same(f"start from {begins.name}", parent_version.as_dict(begins), parent_version.as_dict(theirs))
    except (RetuneError, OSError) as error:
        yield Check(f"start from {begins.name}", begins.seal, f"{MISSING}: {error}", False)


def _inherited_rows(begins: parent_version.ParentVersion, made: Record, kept: dict[str, bytes]) -> Iterator[Check]:
    """Nothing that must not be learned from, and no test row, came with the weights."""
    pair = [row_table.REJECTED] if task_data.of(task_metrics.task_of(made["params"])).has_pairs else []
    test = dvc_store.table(made["data"]["sides"]["test"]["md5"], ["id", "text", *pair])
    names = f"suppressed rows learned by {begins.name}", f"test rows learned by {begins.name}"
    try:
        yield _equal(names[0], "none", ancestry.told(ancestry.suppressed_rows_learned(begins, _suppressed(kept))))
        leaked = GONE if test is None else ancestry.told(ancestry.test_rows_learned(begins, test.to_pandas()))
        yield _equal(names[1], "none", leaked)
    except Refused as error:
        yield Check(names[0], "none", str(error), False)


def _suppressed(kept: dict[str, bytes]) -> suppression.Suppression:
    """The list of rows that must not be learned from, as it stood."""
    listed = kept.get("data/suppressed.json")
    return suppression.parse(listed) if listed is not None else suppression.NOTHING


def _commit(made: Record, kept: dict[str, bytes]) -> Iterator[Check]:
    """What git keeps: the lock, the parameters, the list of packages, the code, the reports, what was not committed."""
    code, commit = made["code"], made["code"]["record_commit"]
    if "dvc.lock" not in kept:
        yield Check("git record", commit, f"{MISSING}: git does not have that commit", False)
        return
    yield _equal("dvc.lock", made["pipeline"]["lock_md5"], bytes_md5(kept["dvc.lock"]))
    stages = yaml.safe_load(kept["dvc.lock"])["stages"]
    yield _same("hashes of dvc.lock", made["pipeline"]["hashes"], dvc_pipeline.hashes_of(stages))
    yield _same("params.yaml", made["params"], yaml.safe_load(kept.get("params.yaml", b"{}")))
    packages = hashlib.sha256(kept.get("requirements.lock", b"")).hexdigest()
    yield _equal("requirements.lock", made["environment"]["lock_sha256"], packages)
    yield _equal("uncommitted changes", code["diff_sha256"], git.diff_sha256(code["commit"], commit))
    for path, expected in made["pipeline"]["hashes"].items():
        if path in kept:
            yield _equal(path, expected, bytes_md5(kept[path]))


def _bytes(made: Record, kept: dict[str, bytes]) -> Iterator[Check]:
    """What the DVC store keeps and git does not: data, splits, model and reports, each file of a folder by itself."""
    for path, md5 in made["pipeline"]["hashes"].items():
        if path in kept:
            continue
        try:
            for name, own in dvc_store.files(path, md5):
                yield _stored(name, own)
        except Refused as error:  # a folder whose listing is gone or damaged
            yield Check(path, md5, GONE if isinstance(error, dvc_store.MissingBytes) else str(error), False)


def _stored(path: str, md5: str) -> Check:
    try:
        return _equal(path, md5, dvc_store.rehash(md5))
    except dvc_store.MissingBytes:
        return Check(path, md5, GONE, False)


def _raw(made: Record) -> Iterator[Check]:
    """The received rows, counted again."""
    expected = made["data"]["raw"]
    try:
        parts = [md5 for path, md5 in dvc_store.listing(expected["md5"]).items() if path.endswith(".parquet")]
        found = str(sum(pq.read_metadata(dvc_store.parquet(md5)).num_rows for md5 in parts))
    except (Refused, pa.ArrowException, OSError):
        found = GONE
    yield _equal("rows of raw", str(expected["rows"]), found)


def _sides(made: Record, kept: dict[str, bytes]) -> Iterator[Check]:
    """Rows and labels of each side, counted again, and none of them on the list of what must not be learned from."""
    listed = _suppressed(kept)
    for side, told in made["data"]["sides"].items():
        table = dvc_store.table(told["md5"], ["id", "label"])
        if table is None:
            yield Check(f"rows of {side}", str(told["rows"]), GONE, False)
            continue
        yield _equal(f"rows of {side}", told["rows"], table.num_rows)
        if task_data.of(task_metrics.task_of(made["params"])).has_labels:
            found = {str(label): int(count) for label, count in table["label"].to_pandas().value_counts().items()}
            yield _same(f"labels of {side}", told["labels"], found)
        yield _equal(f"suppressed rows in {side}", 0, int(suppression.contains(listed, table["id"].to_pandas()).sum()))


def _general(made: Record) -> Iterator[Check]:
    """The general examples: the files as they are now, those that were kept, and none of them a test row."""
    if not (told := made["data"].get("general")):
        return
    for name, file in told["files"].items():
        try:
            yield _equal(f"general/{name}", file["sha256"], file_sha256(Path(file["path"])))
        except OSError as error:
            yield Check(f"general/{name}", file["sha256"], f"{MISSING}: {file['path']}: {error.strerror}", False)
    kept, test = (dvc_store.table(md5, ["text"]) for md5 in (told["md5"], made["data"]["sides"]["test"]["md5"]))
    if kept is None or test is None:
        yield Check("general examples", str(told["rows"]), GONE, False)
        return
    yield _equal("general examples", told["rows"], kept.num_rows)
    texts = [row_table.same_text(table["text"].to_pandas()) for table in (kept, test)]
    yield _equal("test rows among the general examples", 0, int(texts[0].isin(set(texts[1])).sum()))


def _scores(made: Record) -> Iterator[Check]:
    """The scores once more, from what each model said of each test row."""
    said = _predictions(made)
    task, bins = task_metrics.task_of(made["params"]), made["params"]["evaluate"].get("bins", 1)
    for who, prefix in (("candidate", ""), ("base", "base_"), ("probe", "probe_")):
        if not made["scores"][who]:
            continue
        if said is None:
            yield Check(f"scores of {who}", "recorded", GONE, False)
            continue
        found = task_metrics.recompute_scores(task, task_metrics.predictions_of(said, prefix), bins)
        for name, value in found.items():
            expected = made["scores"][who][name]["value"]
            yield Check(
                f"{name} of {who}", f"{expected:.6f}", f"{value:.6f}", math.isclose(expected, value, abs_tol=1e-9)
            )


def _gate(made: Record, folder: Path) -> Iterator[Check]:
    """The gate's decision once more, with the thresholds as they stood. A time is a measurement: it is taken as
    recorded, and what follows from it is decided again.
    """
    told = made["gate"]
    try:
        found = _decided_again(made, folder)
    except dvc_store.MissingBytes:
        yield Check("gate", told["decision"], GONE, False)
        return
    except (RetuneError, OSError, pa.ArrowException) as error:
        yield Check("gate", told["decision"], f"cannot be decided again: {error}", False)
        return
    yield _equal("gate", told["decision"], found["decision"])
    yield _same("gate reasons", record.reasons_of(made), record.reasons_of({"gate": found}))
    if "bounds" in told:
        yield _same("gate bounds", told["bounds"], found["bounds"])
        yield _equal("gate worse", told["worse"], found["worse"])


def _decided_again(made: Record, folder: Path) -> dict[str, Any]:
    """The gate's part of the record as it follows from the kept bytes. Raises Gone if they are not kept."""
    told, said = made["gate"], _predictions(made)
    if said is None:
        raise dvc_store.MissingBytes(GONE)
    champion = row_table.read(folder / record.CHAMPION_SAID) if told["champion"] else None
    if made["schema_version"] == 1:
        return gate_record.as_schema_1(said, champion, made["params"]["promote"])
    task, hashes = task_metrics.task_of(made["params"]), made["pipeline"]["hashes"]
    section = params.parse_section(params.sections(task)["promote"], renames.upgrade(made["params"])["promote"])
    questions = None
    if not task_data.of(task).has_labels:
        questions = gate_record.questions_of(json.loads(dvc_store.read_bytes(hashes[DETAILS])))
    rows = _kept(made["data"]["sides"]["test"]["md5"], ["id", "source"])
    known = _kept(told["champion_test"], ["id"])["id"].tolist() if told["champion_test"] else None
    predictions = gate_record.with_source(said, rows)
    decision = gate.evaluate_gate(predictions, champion, section, told["champion"], known, questions)
    if told["latency"]:
        decision = gate.with_latency(decision, latency.parse(told["latency"]), section)
    return gate_record.as_record(decision, section, told["champion_test"])


def _kept(md5: str, columns: list[str]) -> pd.DataFrame:
    table = dvc_store.table(md5, columns)
    if table is None:
        raise dvc_store.MissingBytes(GONE)
    return table.to_pandas()


def _predictions(made: Record) -> pd.DataFrame | None:
    table = dvc_store.table(made["pipeline"]["hashes"]["models/reports/predictions.parquet"], None)
    return None if table is None else table.to_pandas()


def _same(name: str, expected: Any, found: Any) -> Check:
    """Two values that are too long to show: what differs is shown."""
    if expected == found:
        return Check(name, "equal", "equal", True)
    if isinstance(expected, dict) and isinstance(found, dict):
        before, after = params.flat(expected), params.flat(found)
        keys = sorted(key for key in before | after if before.get(key) != after.get(key))[:5]
        told = (
            [f"{key}={before.get(key, MISSING)}" for key in keys],
            [f"{key}={after.get(key, MISSING)}" for key in keys],
        )
        return Check(name, ", ".join(told[0]), ", ".join(told[1]), False)
    return Check(name, str(expected), str(found), False)


# ---------------------------------------------------------------- the history beside the registry


def chain(name: str) -> list[Check]:
    """The history of a model: its chain, its versions and its champion beside those of the registry."""
    told = history.read(name)
    live = {version.version: version for version in versions.versions(name)}
    links = history.check(told, versions.heads().get(name))
    entries = {entry.version: entry for entry in told.entries if entry.event == history.REGISTERED}
    for number in sorted(entries | live):
        entry, version = entries.get(number), live.get(number)
        where = f"{name}/{number}"
        if entry is None or version is None:
            links.append(_equal(where, "in history and registry", f"in the {'history' if entry else 'registry'} only"))
            continue
        for fact, tag in FACTS.items():
            links.append(_equal(f"{where} {fact.lower()}", entry.facts.get(fact), version.tags.get(tag)))
    crowned = told.champion()
    holder = next((version.version for version in live.values() if history.CHAMPION in version.aliases), None)
    links.append(_equal(f"{name}@champion", crowned.version if crowned else None, holder))
    refused = [number for number, version in live.items() if "refused" in version.tags]
    rival = next((number for number in live if "challenger" in told.aliases(number) and number not in refused), None)
    holder = next((version.version for version in live.values() if "challenger" in version.aliases), None)
    links.append(_equal(f"{name}@challenger", rival, holder))
    return links


def require_whole_history() -> None:
    """Raises Refused if an entry of any history is damaged, missing or unknown to the registry."""
    heads = versions.heads()
    names = sorted({*history.names(), *heads})
    wrong = [link.name for name in names for link in history.check(history.read(name), heads.get(name)) if not link.ok]
    if wrong:
        raise Refused(
            f"the history is not whole, so this answer may lack versions: {', '.join(wrong[:5])} "
            "(`retune history --verify` tells more)"
        )


# ---------------------------------------------------------------- who saw it


def data(target: str) -> Answer:
    """The versions that were made from, trained, validated or tested on these bytes: a path, or a hash of DVC's.

    What a version continued from was made from, trained and validated on counts as its own; what it was tested on
    does not: no weights know of it.
    """
    md5 = _hash_of(target)
    registered = list(_registered())
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
            return file_md5(path)
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
    registered = list(_registered())
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


def _registered() -> Iterator[tuple[history.Chain, history.Entry]]:
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


# ---------------------------------------------------------------- what differs


def diff(one: Record, other: Record) -> dict[str, Any]:
    """What differs between two versions, from the first to the second. Raises Gone if a side's bytes are gone."""
    before, after = _rows(one), _rows(other)
    both = before.merge(after, left_index=True, right_index=True, suffixes=("_before", "_after"))
    return {
        "rows": {
            "added": sorted(after.index.difference(before.index)),
            "removed": sorted(before.index.difference(after.index)),
            "relabelled": _changes(both, "label"),
            "moved": _changes(both, "side"),
        },
        "params": _differences(renames.upgrade(one["params"]), renames.upgrade(other["params"])),
        "code": _differences(one["code"]["modules"], other["code"]["modules"], flatten=dict),
        "base": _differences(one["base"], other["base"]),
        "environment": _differences(one["environment"], other["environment"]),
        "start": _differences(
            parent_version.as_dict(parent_version.of_record(one)),
            parent_version.as_dict(parent_version.of_record(other)),
        ),
        "metrics": {
            name: {"before": told["value"], "after": other["scores"]["candidate"][name]["value"]}
            for name, told in one["scores"]["candidate"].items()
        },
    }


def _rows(made: Record) -> pd.DataFrame:
    """label and side of every row, by id."""
    sides = []
    for side, told in made["data"]["sides"].items():
        table = pq.read_table(dvc_store.parquet(told["md5"]), columns=["id", "label"]).to_pandas()
        sides.append(table.assign(side=side))
    return pd.concat(sides).set_index("id")


def _changes(both: pd.DataFrame, what: str) -> dict[str, dict[str, str]]:
    changed = both[both[f"{what}_before"] != both[f"{what}_after"]]
    return {
        str(name): {"before": before, "after": after}
        for name, before, after in zip(changed.index, changed[f"{what}_before"], changed[f"{what}_after"], strict=True)
    }


def _differences(
    one: dict[str, Any], other: dict[str, Any], flatten: Callable[[dict[str, Any]], dict[str, Any]] = params.flat
) -> dict[str, dict[str, Any]]:
    before, after = flatten(one), flatten(other)
    return {
        key: {"before": before.get(key), "after": after.get(key)}
        for key in sorted(before | after)
        if before.get(key) != after.get(key)
    }
