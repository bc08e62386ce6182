"""What made what: the hashes and values that DVC and git recorded, read from their own files."""

import getpass
import hashlib
import json
import os
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from retune.errors import Refused, WrongUse

MADE_BY = ("train", "evaluate")  # the stages that make a model and its scores


def lock(path: Path = Path("dvc.lock")) -> dict[str, Any]:
    """The stages of dvc.lock; empty if nothing has run yet."""
    return yaml.safe_load(path.read_text("utf-8"))["stages"] if path.exists() else {}


def read_other(stage: str, path: str) -> bool:
    """Whether `stage` last read other bytes under `path` than those that are there now, as DVC knows them."""
    read = hashes_of({stage: {"deps": lock().get(stage, {}).get("deps", [])}})
    made = hashes_of({name: {"outs": own.get("outs", [])} for name, own in lock().items()})
    pointer = Path(f"{path}.dvc")
    if pointer.exists():
        made[path] = yaml.safe_load(pointer.read_text("utf-8"))["outs"][0]["md5"]
    return path in read and path in made and read[path] != made[path]


def pipeline(path: Path = Path("dvc.yaml")) -> dict[str, Any]:
    """The stages of dvc.yaml, in the order of the file."""
    return yaml.safe_load(path.read_text("utf-8"))["stages"]


def outputs(stage: dict[str, Any]) -> list[str]:
    """The paths that a stage of dvc.yaml makes."""
    made = [out for kind in ("outs", "metrics", "plots") for out in stage.get(kind, [])]
    return [out if isinstance(out, str) else next(iter(out)) for out in made]


def hashes() -> dict[str, str]:
    """path -> md5 of every file that the stages read or made, as dvc.lock has it. A folder's ends in `.dir`."""
    return hashes_of(lock())


def hashes_of(stages: dict[str, Any]) -> dict[str, str]:
    entries = [entry for stage in stages.values() for kind in ("deps", "outs") for entry in stage.get(kind, [])]
    return {entry["path"]: entry["md5"] for entry in entries}


def lock_md5(path: Path = Path("dvc.lock")) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


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


def clone() -> Path:
    """The folder of the clone: here, or where this worktree belongs to. Its `.retune` is shared by all worktrees."""
    common = Path(_git("rev-parse", "--git-common-dir") or ".git").resolve()
    return common.parent if common.name == ".git" else Path.cwd()


def commit() -> tuple[str, bool]:
    """The commit that is checked out, and whether a tracked file differs from it."""
    return _git("rev-parse", "HEAD") or "none", _git("status", "--porcelain", "--untracked-files=no") != ""


def diff_sha256(commit: str, other: str) -> str:
    """sha256 of what `git diff-tree -p --binary --full-index COMMIT OTHER` prints, which no git setting changes."""
    told = subprocess.run(["git", "diff-tree", "-p", "--binary", "--full-index", commit, other], capture_output=True)
    return hashlib.sha256(told.stdout).hexdigest()


def blobs(commit: str, paths: Iterable[str]) -> dict[str, bytes]:
    """The files as they stand in a commit, those of them that it has."""
    wanted = list(paths)
    asked = "".join(f"{commit}:{path}\n" for path in wanted)
    told = subprocess.run(["git", "cat-file", "--batch"], input=asked.encode(), capture_output=True)
    found, rest = {}, told.stdout
    for path in wanted:
        head, _, rest = rest.partition(b"\n")
        if head.endswith(b" missing") or not head:
            continue
        size = int(head.rpartition(b" ")[2])
        found[path], rest = rest[:size], rest[size + 1 :]
    return found


def signature() -> dict[str, str]:
    """What git must be told to sign a commit or a tag: the account here, where nobody has said who the user is."""
    account = {"NAME": _account(), "EMAIL": f"{_account()}@{socket.gethostname()}"}
    own = {what: _author(what) or account[what] for what in account if not _configured(what)}
    names = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in own.items()}
    return {name: value for name, value in names.items() if name not in os.environ}


def identity() -> str:
    """Who is at work here, as git signs it: Name <mail>."""
    told = subprocess.run(
        ["git", "var", "GIT_COMMITTER_IDENT"], capture_output=True, text=True, env={**os.environ, **signature()}
    )
    return told.stdout.strip().rpartition(">")[0] + ">" if ">" in told.stdout else _account()


def person() -> str:
    """Who decides here, as `identity`. Raises WrongUse where nobody has said it: an account answers for nothing."""
    unsaid = [
        f"user.{what.lower()}"
        for what in ("NAME", "EMAIL")
        if not (os.environ.get(f"GIT_COMMITTER_{what}") or _configured(what) or _author(what))
    ]
    if unsaid:
        raise WrongUse(
            f"a decision is kept with the name of a person, and git knows no {' and no '.join(unsaid)} here: "
            'say `git config user.name "YOUR NAME"` and `git config user.email YOU@EXAMPLE.COM`, or set '
            "GIT_AUTHOR_NAME and GIT_AUTHOR_EMAIL"
        )
    return identity()


def _configured(what: str) -> str:
    return _git("config", f"user.{what.lower()}")


def _author(what: str) -> str:
    """Of the environment, where a committer that is not named is the author too."""
    return os.environ.get(f"GIT_AUTHOR_{what}", "")


def _account() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run under a number that has no name
        return f"uid-{os.getuid()}"


def edited(path: str) -> bool:
    """Whether a file differs from the commit that is checked out."""
    return _git("status", "--porcelain", "--", path) != ""


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True).stdout.strip()
