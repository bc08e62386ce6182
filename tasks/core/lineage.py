"""What made what: the hashes and values that DVC and git recorded, read from their own files."""

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tasks.core.errors import Refused

MADE_BY = ("train", "evaluate")  # the stages that make a model and its scores


def lock(path: Path = Path("dvc.lock")) -> dict[str, Any]:
    """The stages of dvc.lock; empty if nothing has run yet."""
    return yaml.safe_load(path.read_text("utf-8"))["stages"] if path.exists() else {}


def pipeline(path: Path = Path("dvc.yaml")) -> dict[str, Any]:
    """The stages of dvc.yaml, in the order of the file."""
    return yaml.safe_load(path.read_text("utf-8"))["stages"]


def hashes() -> dict[str, str]:
    """path -> md5 of every file that the stages read or made, as dvc.lock has it. A folder's ends in `.dir`."""
    entries = [entry for stage in lock().values() for kind in ("deps", "outs") for entry in stage.get(kind, [])]
    return {entry["path"]: entry["md5"] for entry in entries}


def data() -> dict[str, str]:
    """The md5 of the raw data and of each side."""
    known = hashes()
    return {
        "raw": known["data/raw"],
        **{side: known[f"data/splits/{side}.parquet"] for side in ("train", "val", "test")},
    }


def fingerprint() -> str:
    """What the model and its scores follow from: data, code, params and commands of the stages that made them.

    Nothing that those stages made is in it: the same inputs have the same fingerprint on every machine.
    """
    stages = lock()
    missing = [name for name in MADE_BY if name not in stages]
    if missing:
        raise Refused(f"there is no model to name yet: {', '.join(missing)} has not run")
    made = {out["path"] for name in MADE_BY for out in stages[name].get("outs", [])}
    inputs = {
        name: {
            "cmd": stages[name]["cmd"],
            "deps": {dep["path"]: dep["md5"] for dep in stages[name]["deps"] if dep["path"] not in made},
            "params": stages[name]["params"],
        }
        for name in MADE_BY
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def commit() -> tuple[str, bool]:
    """The commit that is checked out, and whether a tracked file differs from it."""
    return _git("rev-parse", "HEAD") or "none", _git("status", "--porcelain", "--untracked-files=no") != ""


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True).stdout.strip()
