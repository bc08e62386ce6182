"""Recompute what a version's record claims, and compare the history with the registry.

No statement is trusted because it was written down. A check passes if what it names is computed again now, from the
bytes in the DVC store, the model's files, the base, git's objects and the registry, and is equal.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from retune.errors import Refused, RetuneError
from retune.lineage import checksums, history, parent_version
from retune.lineage import record as records
from retune.lineage.check import Check
from retune.lineage.entry_facts import Fact, md5_fact
from retune.lineage.record import Record
from retune.models import base_model
from retune.registry import versions
from retune.system import dvc_pipeline, git
from retune.system.files import bytes_md5, file_sha256
from tasks.trace import recomputed
from tasks.trace.checks import MISSING, Blobs, equal, same, stored_files
from tasks.trace.parent_checks import check_parent, parent_name

TAG_OF_FACT = {
    Fact.RECORD: "record.commit",
    Fact.EVIDENCE: "evidence",
    Fact.SEAL: "seal",
    Fact.SIGNER: "signer",
    Fact.START: "start",
}
IN_GIT = ("dvc.lock", "params.yaml", "requirements.lock")


@dataclass(frozen=True)
class Trace:
    """A version and every check of its lineage, from its record back to its raw data."""

    name: str
    version: int
    links: list[Check]
    record: Record

    @property
    def ok(self) -> bool:
        return all(link.ok for link in self.links)


@dataclass(frozen=True)
class Subject:
    """What the checks of one version look at."""

    version: versions.Version
    folder: Path
    record: Record
    blobs: Blobs


def model(version: versions.Version) -> Trace:
    """Check a version back to its raw data. Raises Refused if it has no readable record."""
    folder = versions.version_folder(version)
    record = records.read(folder / records.FILE)
    blobs = git.blobs(record["code"]["record_commit"], [*IN_GIT, *record["pipeline"]["hashes"]])
    subject = Subject(version, folder, record, blobs)
    return Trace(version.name, version.version, [link for check in CHECKS for link in check(subject)], record)


def _check_record(subject: Subject) -> Iterator[Check]:
    yield equal("record", subject.version.tags.get("evidence", MISSING), file_sha256(subject.folder / records.FILE))


def _check_seal(subject: Subject) -> Iterator[Check]:
    for link in versions.integrity(subject.version, subject.folder):
        yield replace(link, name=f"model/{link.name}")


def _check_recorded_files(subject: Subject) -> Iterator[Check]:
    """The record's own list of the model's files, beside the checksums that the seal covers."""
    files, hashes = subject.record["files"], checksums.contents(subject.folder)
    wrong = [f"{name} {hashes.get(name, MISSING)}" for name, sha256 in files.items() if hashes.get(name) != sha256]
    expected = f"{len(files)} equal"
    yield Check("files in the record", expected, ", ".join(wrong) or expected, not wrong)


def _check_registry(subject: Subject) -> Iterator[Check]:
    """The tags of the version and its entry in the history, beside the record."""
    version, record = subject.version, subject.record
    chain = history.read(version.name)
    entry = chain.registered(version.version)

    def value_of(fact: Fact) -> str | None:
        return entry.facts.get(fact) if entry else MISSING

    yield equal("record of this name", version.name, record["name"])
    yield equal("fingerprint", version.tags.get("fingerprint"), record["fingerprint"])
    for fact, tag in TAG_OF_FACT.items():
        yield equal(f"history {fact.lower()}", value_of(fact), version.tags.get(tag))
    data = record["data"]
    for name, md5 in {"raw": data["raw"]["md5"], **{name: each["md5"] for name, each in data["sides"].items()}}.items():
        yield equal(f"history {name}", value_of(md5_fact(name)), md5)
        yield equal(f"tag data.{name}", version.tags.get(f"data.{name}"), md5)
    if "general" in data and data["general"]["learned"]:
        yield equal("history general", value_of(Fact.GENERAL), data["general"]["md5"])
    start = (entry.start or parent_version.BASE) if entry else MISSING
    yield equal("start in the history", start, parent_name(parent_version.of_record(record)))
    yield equal("record commit", record["code"]["record_commit"], version.tags.get("record.commit"))
    expected = chain.aliases(version.version)
    if history.CHAMPION in (*version.aliases, *expected):
        is_champion = str(history.CHAMPION in expected), str(history.CHAMPION in version.aliases)
        yield Check("alias champion", *is_champion, expected == list(version.aliases))


def _check_base(subject: Subject) -> Iterator[Check]:
    base = subject.record["base"]
    try:
        folder = base_model.find(base["name"])
    except RetuneError as error:
        yield Check(f"base {base['name']}", base["sha256"], f"{MISSING}: {error}", False)
        return
    hashes = base_model.hashes(folder)
    for file in sorted(base["files"] | hashes):
        yield equal(f"base/{file}", base["files"].get(file, "nothing"), hashes.get(file, MISSING))
    yield equal("base weights", base["sha256"], base_model.weights_sha256(folder))


def _check_commit(subject: Subject) -> Iterator[Check]:
    """What git keeps: dvc.lock, parameters, requirements, code, reports, and what was not committed."""
    record, blobs, code = subject.record, subject.blobs, subject.record["code"]
    if "dvc.lock" not in blobs:
        commit = code["record_commit"]
        yield Check("git record", commit, f"{MISSING}: git does not have that commit", False)
        return
    yield equal("dvc.lock", record["pipeline"]["lock_md5"], bytes_md5(blobs["dvc.lock"]))
    stages = yaml.safe_load(blobs["dvc.lock"])["stages"]
    yield same("hashes of dvc.lock", record["pipeline"]["hashes"], dvc_pipeline.hashes_of(stages))
    yield same("params.yaml", record["params"], yaml.safe_load(blobs.get("params.yaml", b"{}")))
    packages = hashlib.sha256(blobs.get("requirements.lock", b"")).hexdigest()
    yield equal("requirements.lock", record["environment"]["lock_sha256"], packages)
    yield equal("uncommitted changes", code["diff_sha256"], git.diff_sha256(code["commit"], code["record_commit"]))
    for path, md5 in record["pipeline"]["hashes"].items():
        if path in blobs:
            yield equal(path, md5, bytes_md5(blobs[path]))


def _check_stored_bytes(subject: Subject) -> Iterator[Check]:
    """What the DVC store keeps and git does not: data, splits, model and reports, file by file."""
    for path, md5 in subject.record["pipeline"]["hashes"].items():
        if path not in subject.blobs:
            yield from stored_files(path, md5)


CHECKS = (
    _check_record,
    _check_seal,
    _check_recorded_files,
    _check_registry,
    _check_base,
    lambda subject: check_parent(subject.record, subject.blobs),
    _check_commit,
    _check_stored_bytes,
    lambda subject: recomputed.check_raw_rows(subject.record),
    lambda subject: recomputed.check_splits(subject.record, subject.blobs),
    lambda subject: recomputed.check_replay(subject.record),
    lambda subject: recomputed.check_scores(subject.record),
    lambda subject: recomputed.check_automation(subject.record, subject.folder),
    lambda subject: recomputed.check_gate(subject.record, subject.folder),
)


def chain(name: str) -> list[Check]:
    """The history of a model: its chain, its versions and its aliases beside those of the registry."""
    entries = history.read(name)
    registered = {entry.version: entry for entry in entries.entries if entry.event == history.REGISTERED}
    existing = {version.version: version for version in versions.versions(name)}
    links = history.check(entries, versions.heads().get(name))
    for number in sorted(registered | existing):
        entry, version = registered.get(number), existing.get(number)
        reference = f"{name}/{number}"
        if entry is None or version is None:
            place = "history" if entry else "registry"
            links.append(equal(reference, "in history and registry", f"in the {place} only"))
            continue
        for fact, tag in TAG_OF_FACT.items():
            links.append(equal(f"{reference} {fact.lower()}", entry.facts.get(fact), version.tags.get(tag)))
    return [*links, *_check_aliases(entries, existing)]


def _check_aliases(chain: history.Chain, existing: dict[int, versions.Version]) -> Iterator[Check]:
    def holder(alias: str) -> int | None:
        return next((number for number, version in existing.items() if alias in version.aliases), None)

    champion = chain.champion()
    yield equal(f"{chain.model}@champion", champion.version if champion else None, holder(history.CHAMPION))
    reloaded = [number for number, version in existing.items() if "refused" not in version.tags]
    challenger = next((number for number in reloaded if versions.CHALLENGER in chain.aliases(number)), None)
    yield equal(f"{chain.model}@challenger", challenger, holder(versions.CHALLENGER))


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
