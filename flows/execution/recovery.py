"""Finishes or removes what a killed process left half done, at the start of the next one, which reports it.

Each step says in words what it mended, or nothing. All of them may be called whenever this folder is held
(`home.alone`): what belongs to a living process is left to it. DVC and git mend their own locks.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import yaml

from flows.execution import dvc, raw_data
from retune.data import unfinished_ingest
from retune.registry import backend
from retune.registry.runs import close_left_open
from retune.system import dvc_store
from retune.system.dvc_files import LOCK, MD5, POINTER, RAW
from tasks.promote import reconcile

HALF_WRITTEN = re.compile(r"^\.(?P<name>.+)\.(?P<process>\d+)\.tmp$")  # a temporary name of retune/system/files.py
TOPS = (Path("data"), Path("models"))
CHECKPOINTS = Path(".retune/checkpoints")
UNPUSHED = "unpushed"  # in the state of the clone, while bytes of a version are in no remote
KEPT_DAYS = 7  # interrupted training resumes from its checkpoint, within this time
DAY = 86_400


def repair(name: str) -> list[str]:
    """All repairs, before a run of the model `name`."""
    return [*files(), *runs(name), *reconcile.reconcile(name), *unpushed()]


def files() -> list[str]:
    """Repairs in this folder and in `.retune`. Raises Refused, and changes no record, if git or a person left it so."""
    raw_data.require_merged()
    raw_data.require_no_links()
    return [
        *half_written(),
        *torn_lock(),
        *missing_parts(),
        *cut_off_ingest(),
        *scratch(),
        *old_checkpoints(),
    ]


def runs(name: str) -> list[str]:
    """Repairs in the registry."""
    return [f"closed the MLflow run {run_id}: its process had died" for run_id in close_left_open(name)]


def leave_unpushed() -> None:
    """Note that the bytes of a version are in the cache of this machine alone."""
    (backend.state() / UNPUSHED).touch()


def unpushed() -> Iterator[str]:
    """Push the bytes that the remote did not take from an earlier run: the tags of the history name them."""
    note = backend.state() / UNPUSHED
    if note.exists() and dvc_store.has_remote():
        dvc.push("--all-tags")
        note.unlink()
        yield "pushed the bytes of earlier versions, which the DVC remote had not taken"


def half_written() -> Iterator[str]:
    for top in (Path(), *TOPS):
        for path in sorted(top.rglob(".*.tmp") if top in TOPS else top.glob(".*.tmp")):
            match = HALF_WRITTEN.match(path.name)
            if match and not psutil.pid_exists(int(match["process"])):
                path.unlink()
                yield f"removed {path}: a process died while it wrote {match['name']}"


def torn_lock() -> Iterator[str]:
    """Remove a damaged dvc.lock, which DVC writes in place: DVC restores the results from its run cache."""
    if LOCK.exists() and not all(map(_complete, (_yaml(LOCK).get("stages") or {"": {}}).values())):
        LOCK.unlink()
        yield f"removed {LOCK}, which was damaged: DVC fills it again from its cache"


def _complete(entry: dict[str, Any]) -> bool:
    parts = [part for kind in ("deps", "outs") for part in entry.get(kind) or [{}]]
    return {"cmd", "params"} <= set(entry) and all("path" in part and _has_hash(part) for part in parts)


def _has_hash(part: dict[str, Any]) -> bool:
    return bool(MD5.match(str(part.get("md5"))))


def cut_off_ingest() -> Iterator[str]:
    """Finish an ingest that was killed before `dvc add`: parts are written whole, and only ever added."""
    if raw_data.is_ours():
        if not POINTER.exists():  # nothing was ingested yet: the next ingest starts afresh
            return
        before = unfinished_ingest.read()
        added = sorted(set(unfinished_ingest.names(RAW)) - set(before.files if before else ()))
        if raw_data.is_torn(POINTER.read_text("utf-8", "replace")):
            POINTER.unlink()
        dvc.track(str(RAW))
        unfinished_ingest.NOTE.unlink(missing_ok=True)
        yield f"finished an interrupted ingest: {', '.join(added) or 'no new part'} now tracked by DVC"
    raw_data.require_followed()
    unfinished_ingest.NOTE.unlink(missing_ok=True)


def missing_parts() -> Iterator[str]:
    """Check out the parts that the pointer names and data/raw lacks, if nothing else differs: git has moved it."""
    if not POINTER.exists() or raw_data.is_ours():
        return
    changes = raw_data.difference()
    if changes.missing and not changes.added and not changes.changed and dvc_store.are_cached(POINTER):
        dvc.checkout_cached(str(POINTER))
        yield f"checked out {', '.join(changes.missing)}, which {POINTER} names: git had moved it"


def _yaml(path: Path) -> dict[str, Any]:
    try:
        read = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}
    return read if isinstance(read, dict) else {}


def scratch() -> Iterator[str]:
    for folder in sorted(backend.scratch_root().glob("*-*")):
        process = folder.name.partition("-")[0]
        if process.isdigit() and int(process) != os.getpid() and not psutil.pid_exists(int(process)):
            shutil.rmtree(folder, ignore_errors=True)
            yield f"removed {folder}, the scratch folder of a process that died"


def old_checkpoints() -> Iterator[str]:
    for folder in sorted(CHECKPOINTS.glob("*")):
        newest = max((path.stat().st_mtime for path in (folder, *folder.rglob("*"))), default=0)
        if time.time() - newest > KEPT_DAYS * DAY:
            shutil.rmtree(folder, ignore_errors=True)
            yield f"removed {folder}, checkpoints that no training has used for {KEPT_DAYS} days"
