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
from retune.lineage import ancestry, checksums, history, parent_version, record
from retune.lineage.check import Check
from retune.lineage.record import Record
from retune.models import base_model
from retune.registry import versions
from retune.system import dvc_pipeline, dvc_store, git
from retune.system.files import file_sha256
from tasks.trace.checks import GONE, MISSING, equal, md5_of, same, stored
from tasks.trace.parent_checks import check_parent, parent_name
from tasks.trace.recomputed import check_gate, check_raw_rows, check_replay, check_scores, check_splits

FACTS = {"Record": "record.commit", "Evidence": "evidence", "Seal": "seal", "Signer": "signer", ancestry.START: "start"}
IN_GIT = ("dvc.lock", "params.yaml", "requirements.lock")


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


def model(version: versions.Version) -> Trace:
    """Every link from a version back to its raw data. Raises Refused if it has no record that can be read."""
    folder = versions.version_folder(version)
    made = record.read(folder / record.FILE)
    kept = git.blobs(made["code"]["record_commit"], [*IN_GIT, *made["pipeline"]["hashes"]])
    links = [
        equal("record", version.tags.get("evidence", MISSING), file_sha256(folder / record.FILE)),
        *(replace(link, name=f"model/{link.name}") for link in versions.integrity(version, folder)),
        *_files_of_record(made, folder),
        *_registry(version, made),
        *_base(made),
        *check_parent(made, kept),
        *_commit(made, kept),
        *_bytes(made, kept),
        *check_raw_rows(made),
        *check_splits(made, kept),
        *check_replay(made),
        *check_scores(made),
        *check_gate(made, folder),
    ]
    return Trace(version.name, version.version, links, made)


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
    yield equal("record of this name", version.name, made["name"])
    yield equal("fingerprint", version.tags.get("fingerprint"), made["fingerprint"])
    for fact, tag in FACTS.items():
        yield equal(f"history {fact.lower()}", entry.facts.get(fact) if entry else MISSING, version.tags.get(tag))
    md5s = {"Raw": made["data"]["raw"]["md5"], **{s.capitalize(): v["md5"] for s, v in made["data"]["sides"].items()}}
    for fact, md5 in md5s.items():
        yield equal(f"history {fact.lower()}", entry.facts.get(fact) if entry else MISSING, md5)
        yield equal(f"tag data.{fact.lower()}", version.tags.get(f"data.{fact.lower()}"), md5)
    if made["data"].get("general", {}).get("learned"):
        found = entry.facts.get(ancestry.GENERAL) if entry else MISSING
        yield equal("history general", found, made["data"]["general"]["md5"])
    begins = parent_version.of_record(made)
    yield equal(
        "start in the history",
        entry.facts.get(ancestry.START, parent_version.BASE) if entry else MISSING,
        parent_name(begins),
    )
    yield equal("record commit", made["code"]["record_commit"], version.tags.get("record.commit"))
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
        yield equal(f"base/{file}", made["base"]["files"].get(file, "nothing"), found.get(file, MISSING))
    yield equal("base weights", made["base"]["sha256"], base_model.weights_sha256(folder))


def _commit(made: Record, kept: dict[str, bytes]) -> Iterator[Check]:
    """What git keeps: the lock, the parameters, the list of packages, the code, the reports, what was not committed."""
    code, commit = made["code"], made["code"]["record_commit"]
    if "dvc.lock" not in kept:
        yield Check("git record", commit, f"{MISSING}: git does not have that commit", False)
        return
    yield equal("dvc.lock", made["pipeline"]["lock_md5"], md5_of(kept["dvc.lock"]))
    stages = yaml.safe_load(kept["dvc.lock"])["stages"]
    yield same("hashes of dvc.lock", made["pipeline"]["hashes"], dvc_pipeline.hashes_of(stages))
    yield same("params.yaml", made["params"], yaml.safe_load(kept.get("params.yaml", b"{}")))
    packages = hashlib.sha256(kept.get("requirements.lock", b"")).hexdigest()
    yield equal("requirements.lock", made["environment"]["lock_sha256"], packages)
    yield equal("uncommitted changes", code["diff_sha256"], git.diff_sha256(code["commit"], commit))
    for path, md5 in made["pipeline"]["hashes"].items():
        if path in kept:
            yield equal(path, md5, md5_of(kept[path]))


def _bytes(made: Record, kept: dict[str, bytes]) -> Iterator[Check]:
    """What the DVC store keeps and git does not: data, splits, model and reports, each file of a folder by itself."""
    for path, md5 in made["pipeline"]["hashes"].items():
        if path in kept:
            continue
        try:
            for name, own in dvc_store.files(path, md5):
                yield stored(name, own)
        except Refused as error:  # a folder whose listing is gone or damaged
            yield Check(path, md5, GONE if isinstance(error, dvc_store.MissingBytes) else str(error), False)


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
            links.append(equal(where, "in history and registry", f"in the {'history' if entry else 'registry'} only"))
            continue
        for fact, tag in FACTS.items():
            links.append(equal(f"{where} {fact.lower()}", entry.facts.get(fact), version.tags.get(tag)))
    crowned = told.champion()
    holder = next((version.version for version in live.values() if history.CHAMPION in version.aliases), None)
    links.append(equal(f"{name}@champion", crowned.version if crowned else None, holder))
    refused = [number for number, version in live.items() if "refused" in version.tags]
    rival = next((number for number in live if "challenger" in told.aliases(number) and number not in refused), None)
    holder = next((version.version for version in live.values() if "challenger" in version.aliases), None)
    links.append(equal(f"{name}@challenger", rival, holder))
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
