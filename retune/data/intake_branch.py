"""Rows from sources: rows and cursors on the branch `retune/intake`, one commit per intake, whole or not at all.

    data/raw.dvc        the rows that a model may learn from, by their DVC hash
    data/aside.dvc      quarantined parts: with them a run was refused, or made a worse model
    data/aside.json     why and when, part by part
    data/cursors.json   how far each source was read

Rows and cursors move together in one `git update-ref` that names the commit it replaces. So a crash leaves either
state, and of two concurrent intakes one raises Moved. The user's branches, index and files stay untouched;
`git checkout retune/intake -- data/raw.dvc && dvc checkout data/raw.dvc` brings the rows into a checkout,
`git push origin retune/intake` and `dvc push` store them elsewhere.

Each task has its own rows: while a clone works on another task, the branch is called `retune/intake-TASK`.
"""

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from retune.errors import Broken
from retune.system import git

REF = "refs/heads/retune/intake"
RAW, ASIDE, WHY, CURSORS = "data/raw.dvc", "data/aside.dvc", "data/aside.json", "data/cursors.json"
Cursor = dict[str, Any]  # how far one source was read; each kind of source has its own content
Cursors = dict[str, Cursor]  # by the name of the source
NONE = "0" * 40  # git's name for a missing ref


class Moved(Broken):
    """Another intake has finished meanwhile: read again."""


@dataclass(frozen=True)
class Aside:
    """Why a part is in quarantine."""

    why: str
    at: str  # ISO 8601, UTC
    rows: int


@dataclass(frozen=True)
class Intake:
    commit: str = NONE
    pointers: dict[str, bytes] = field(default_factory=dict)  # data/raw.dvc and data/aside.dvc as DVC wrote them
    aside: dict[str, Aside] = field(default_factory=dict)  # name of a part -> why it is in quarantine
    cursors: Cursors = field(default_factory=dict)

    @property
    def raw(self) -> str | None:
        """The DVC hash of data/raw; None before the first intake."""
        return md5(self.pointers[RAW]) if RAW in self.pointers else None


def md5(pointer: bytes) -> str:
    """The hash that a .dvc file names."""
    return str(yaml.safe_load(pointer)["outs"][0]["md5"])


def read() -> Intake:
    """The content of the branch; empty before the first intake."""
    commit = _commit(REF)
    if not commit:
        return Intake()
    files = git.blobs(commit, [RAW, ASIDE, WHY, CURSORS])
    try:
        why = json.loads(files.get(WHY, b"{}"))
        aside = {part: Aside(**facts) for part, facts in why.items()}
        pointers = {path: files[path] for path in (RAW, ASIDE) if path in files}
        intake = Intake(commit, pointers, aside, json.loads(files.get(CURSORS, b"{}")))
        return intake if intake.raw else Intake(commit)
    except (ValueError, TypeError, AttributeError, KeyError, yaml.YAMLError) as error:
        raise Broken(f"the branch retune/intake at {commit[:12]} cannot be read: {error}; `git log` shows it") from None


def move(before: Intake, folder: Path, cursors: Cursors, aside: dict[str, Aside], why: str) -> Intake:
    """Commit the content of `folder`, whose data/raw and data/aside DVC tracks. Raises Moved if `before` is old."""
    files = {path: (folder / path).read_bytes() for path in (RAW, ASIDE) if (folder / path).exists()}
    reasons = {part: asdict(each) for part, each in aside.items()}
    for path, value in ((WHY, reasons), (CURSORS, cursors)):
        files[path] = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    commit = git.commit_tree(_tree(files), [] if before.commit == NONE else [before.commit], why)
    try:
        git.run("update-ref", "-m", why, REF, commit, before.commit)
    except git.GitError as error:
        raise Moved(f"the branch retune/intake has moved during the intake: {error.stderr}") from None
    return read()


def switch(before: str, after: str) -> None:
    """Rename the branch to that of the task `before`, and restore the branch of `after` if there is one."""
    current, stored, returning = (_commit(ref) for ref in (REF, f"{REF}-{before}", f"{REF}-{after}"))
    steps = []
    if current:
        steps += [f"update {REF}-{before} {current} {stored or NONE}", f"delete {REF} {current}"]
    if returning:
        steps = [step for step in steps if not step.startswith("delete")]
        steps += [f"update {REF} {returning} {current or NONE}", f"delete {REF}-{after} {returning}"]
    git.run("update-ref", "--stdin", stdin="".join(f"{step}\n" for step in steps).encode())


def _commit(ref: str) -> str:
    return git.output("rev-parse", "--verify", "--quiet", ref, check=False)


def _tree(files: dict[str, bytes]) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        env = {**os.environ, "GIT_INDEX_FILE": str(Path(scratch) / "index")}
        for path, content in files.items():
            blob = git.output("hash-object", "-w", "--stdin", stdin=content)
            git.run("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", env=env)
        return git.output("write-tree", env=env)
