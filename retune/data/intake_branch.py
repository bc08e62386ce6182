"""What has come in: rows and cursors on the branch `retune/intake`, one commit each time, whole or not at all.

    data/raw.dvc        the rows that a model may learn from, by their DVC hash
    data/aside.dvc      parts that were set aside: with them a run was refused, or made a worse model
    data/aside.json     why and when, part by part
    data/cursors.json   how far each source was read

Rows and cursors move together in one `git update-ref` that names the commit which it replaces. So a crash leaves the
one state or the other, and of two that bring in at once, one is told to look again. The user's branches, index and
files are not touched; `git checkout retune/intake -- data/raw.dvc && dvc checkout data/raw.dvc` brings the rows into
a checkout, `git push origin retune/intake` and `dvc push` keep them elsewhere.

Rows of one task are none of another: while a clone is turned to another task, the branch is `retune/intake-TASK`.
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
Cursor = dict[str, Any]  # how far one source was read; what it holds is the business of its kind
Cursors = dict[str, Cursor]  # by the name of the source
NONE = "0" * 40  # git's name for a missing ref


class Moved(Broken):
    """Another has brought something in meanwhile: read again."""


@dataclass(frozen=True)
class Aside:
    """Why a part was set aside."""

    why: str
    at: str  # ISO 8601, UTC
    rows: int


@dataclass(frozen=True)
class Intake:
    commit: str = NONE
    pointers: dict[str, bytes] = field(default_factory=dict)  # data/raw.dvc and data/aside.dvc as DVC wrote them
    aside: dict[str, Aside] = field(default_factory=dict)  # name of a part -> why it was set aside
    cursors: Cursors = field(default_factory=dict)

    @property
    def raw(self) -> str | None:
        """The DVC hash of data/raw; None before anything came in."""
        return md5(self.pointers[RAW]) if RAW in self.pointers else None


def md5(pointer: bytes) -> str:
    """The hash that a .dvc file names."""
    return str(yaml.safe_load(pointer)["outs"][0]["md5"])


def read() -> Intake:
    """What stands on the branch now; empty before anything came in."""
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
    """Enter what stands in `folder`, whose data/raw and data/aside DVC tracks. Raises Moved if `before` is past."""
    files = {path: (folder / path).read_bytes() for path in (RAW, ASIDE) if (folder / path).exists()}
    reasons = {part: asdict(each) for part, each in aside.items()}
    for path, value in ((WHY, reasons), (CURSORS, cursors)):
        files[path] = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    commit = git.commit_tree(_tree(files), [] if before.commit == NONE else [before.commit], why)
    try:
        git.run("update-ref", "-m", why, REF, commit, before.commit)
    except git.GitError as error:
        raise Moved(f"the branch retune/intake has moved while rows were brought in: {error.stderr}") from None
    return read()


def switch(before: str, after: str) -> None:
    """Store the branch under the name of the task `before`, and bring back that of `after`, if there is one."""
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
