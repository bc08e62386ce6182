"""A folder of its own for each run: a git worktree of the checkout as it is, which shares its DVC cache.

Nothing is written into the user's checkout. The worktree stands at the checkout's commit, with the edits that are not
committed yet laid over it, so that the record tells of a run on schedule what it tells of one by hand. It goes when the
run has ended well; after a failure it stays for some days, to look at, and `retune clean` sweeps it.
"""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from flows.execution import disk_errors
from retune.errors import Broken
from retune.system import dvc_store, failpoints, git

FOLDER = ".retune/runs"
CARRIED = (
    "models/start.json",
    "data/suppressed.json",
    "data/label_verdicts.json",
)  # tracked by git; the checkout may hold edits that are not committed
FAILED = "failed.json"
BLOCK = 4096  # bytes of a disk that a file takes, or a multiple


@dataclass(frozen=True)
class Left:
    """A folder that a run left behind."""

    folder: Path
    days: float  # since it was last used
    why: str


@contextmanager
def workspace(name: str, keep: bool = True) -> Iterator[Path]:
    """Work in a fresh worktree until the block ends; if it ends with an error, the folder stays and says why.

    Without `keep` it goes in any case.
    """
    runs = git.main_checkout() / FOLDER
    runs.mkdir(parents=True, exist_ok=True)
    folder = _free(runs, name)
    with FileLock(_lock(folder), timeout=10):
        try:
            _lay(folder)
            failpoints.point("workspace:laid")
            with chdir(folder):
                yield folder
        except BaseException as error:
            if not keep:
                remove(folder)
            else:
                _say_why(folder, error)
            raise
        failpoints.point("workspace:before-removal")
        remove(folder)


def _say_why(folder: Path, error: BaseException) -> None:
    with suppress(OSError):
        (folder / FAILED).write_text(json.dumps({"why": f"{type(error).__name__}: {error}"}) + "\n", "utf-8")


def _free(runs: Path, name: str) -> Path:
    """A name that no other run has: `brave-newt`, or else `brave-newt-2`."""
    for number in range(1, 1000):
        folder = runs / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise Broken(f"{runs} holds a thousand runs named {name}: `retune clean` removes them")


def _lock(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")


def _lay(folder: Path) -> None:
    checkout = Path.cwd()
    try:
        git.run("worktree", "add", "--quiet", "--force", "--detach", str(folder), "HEAD")
    except git.GitError as error:
        reason = f"{disk_errors.in_short(error.stderr)}{_no_room(folder.parent)}"
        raise Broken(f"git worktree add failed: {reason}") from None
    for path in [*_edited(), *CARRIED]:
        if (checkout / path).is_file():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(checkout / path, folder / path)
        else:
            (folder / path).unlink(missing_ok=True)
    dvc_store.share_cache(folder)
    (folder / ".retune").mkdir(exist_ok=True)
    checkpoints = git.main_checkout() / ".retune/checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    (folder / ".retune/checkpoints").symlink_to(checkpoints)  # so that an interrupted run resumes


def _no_room(runs: Path) -> str:
    """A sentence if the commit does not fit on the disk. Git only names the files that it could not write, and removes
    what it had written, so the disk is no longer full afterwards."""
    entries = git.output("ls-tree", "-r", "-l", "-z", "HEAD").split("\0")
    sizes = [int(size) for size in (entry.split(maxsplit=4)[3] for entry in entries if entry) if size.isdigit()]
    need, free = sum(-(-size // BLOCK) * BLOCK for size in sizes), shutil.disk_usage(runs).free
    if free >= need:
        return ""
    return f". No space left on device: {runs} needs {need / 1e6:.1f} MB, {free / 1e6:.1f} MB are free"


def _edited() -> list[str]:
    """Files tracked by git that differ from the commit, deleted ones included."""
    return [path for path in git.output("diff", "--name-only", "-z", "--no-renames", "HEAD").split("\0") if path]


def remove(folder: Path) -> None:
    """Remove a worktree, whatever its state, from git too."""
    shutil.rmtree(folder, ignore_errors=True)
    git.run("worktree", "prune", check=False)
    _lock(folder).unlink(missing_ok=True)


def left() -> list[Left]:
    """The folders of runs that have ended: they failed, or their process was killed."""
    runs = git.main_checkout() / FOLDER
    leftovers = []
    for folder in sorted(runs.iterdir()) if runs.exists() else []:
        if folder.is_dir() and not _at_work(folder):
            days = (time.time() - max(folder.stat().st_mtime, _mtime(folder / FAILED))) / 86400
            leftovers.append(Left(folder, days, _why(folder)))
    return leftovers


def sweep(older_than_days: float) -> list[Left]:
    """Remove the folders that runs left longer ago than that. Returns them."""
    swept = [each for each in left() if each.days >= older_than_days]
    for each in swept:
        remove(each.folder)
    return swept


def _at_work(folder: Path) -> bool:
    try:
        with FileLock(_lock(folder), blocking=False):
            return False
    except Timeout:
        return True


def _mtime(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0


def _why(folder: Path) -> str:
    try:
        return str(json.loads((folder / FAILED).read_text("utf-8"))["why"])
    except (OSError, ValueError, KeyError, TypeError):
        return "its process was killed"
