"""What made what: the hashes and values that DVC and git recorded, read from their own files."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import yaml

from retune.errors import Refused
from retune.system import dvc_files
from retune.system.files import file_md5

MADE_BY = ("train", "evaluate")  # the stages that make a model and its scores


def lock(path: Path = Path("dvc.lock")) -> dict[str, Any]:
    """The stages of dvc.lock; empty if nothing has run yet. Raises Refused if it is in conflict or damaged."""
    stages: dict[str, Any] = dvc_files.load(path).get("stages", {}) if path.exists() else {}
    return stages


def read_other(stage: str, path: str) -> bool:
    """Whether `stage` last read other bytes under `path` than those that are there now, as DVC knows them."""
    read = hashes_of({stage: {"deps": lock().get(stage, {}).get("deps", [])}})
    output_hashes = hashes_of({name: {"outs": entry.get("outs", [])} for name, entry in lock().items()})
    pointer = Path(f"{path}.dvc")
    if pointer.exists():
        output_hashes[path] = dvc_files.pointer_md5(pointer)
    return path in read and path in output_hashes and read[path] != output_hashes[path]


def pipeline(path: Path = Path("dvc.yaml")) -> dict[str, Any]:
    """The stages of dvc.yaml, in the order of the file."""
    stages: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))["stages"]
    return stages


def outputs(stage: dict[str, Any]) -> list[str]:
    """The paths that a stage of dvc.yaml makes."""
    entries = [out for kind in ("outs", "metrics", "plots") for out in stage.get(kind, [])]
    return [out if isinstance(out, str) else next(iter(out)) for out in entries]


def hashes() -> dict[str, str]:
    """path -> md5 of every file that the stages read or made, as dvc.lock has it. A folder's ends in `.dir`."""
    return hashes_of(lock())


def hashes_of(stages: dict[str, Any]) -> dict[str, str]:
    entries = [entry for stage in stages.values() for kind in ("deps", "outs") for entry in stage.get(kind, [])]
    return {entry["path"]: entry["md5"] for entry in entries}


def md5_in(lock: bytes, path: str) -> str | None:
    """The hash of one path in the bytes of a dvc.lock: a search, as parsing the YAML of one takes 0.1 s."""
    line = re.search(rf"^ *- path: {re.escape(path)}\n(?: +hash: md5\n)? +md5: (\S+)$", lock.decode(), re.MULTILINE)
    return line[1] if line else None


def lock_md5(path: Path = Path("dvc.lock")) -> str:
    return file_md5(path)


def fingerprint() -> str:
    """What the model and its scores follow from: data, code, params and commands of the stages that made them.

    Nothing that those stages made is in it: the same inputs have the same fingerprint on every machine.
    """
    stages = lock()
    missing = [name for name in MADE_BY if name not in stages]
    if missing:
        raise Refused(f"there is no model to name yet: {', '.join(missing)} has not run")
    output_paths = {out["path"] for name in MADE_BY for out in stages[name].get("outs", [])}
    inputs = {
        name: {
            "cmd": stages[name]["cmd"],
            "deps": {dep["path"]: dep["md5"] for dep in stages[name]["deps"] if dep["path"] not in output_paths},
            "params": stages[name]["params"],
        }
        for name in MADE_BY
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
