"""git: commits, files in commits, and who is at work here."""

import getpass
import hashlib
import os
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path

from retune.errors import WrongUse


def main_checkout() -> Path:
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


def author_variables() -> dict[str, str]:
    """What git must be told to sign a commit or a tag: the account here, where nobody has said who the user is."""
    account = {"NAME": _account(), "EMAIL": f"{_account()}@{socket.gethostname()}"}
    own = {what: _author(what) or account[what] for what in account if not _configured(what)}
    names = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in own.items()}
    return {name: value for name, value in names.items() if name not in os.environ}


def identity() -> str:
    """Who is at work here, as git signs it: Name <mail>."""
    told = subprocess.run(
        ["git", "var", "GIT_COMMITTER_IDENT"],
        capture_output=True,
        text=True,
        env={**os.environ, **author_variables()},
    )
    return told.stdout.strip().rpartition(">")[0] + ">" if ">" in told.stdout else _account()


def require_person() -> str:
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


def is_edited(path: str) -> bool:
    """Whether a file differs from the commit that is checked out."""
    return _git("status", "--porcelain", "--", path) != ""


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True).stdout.strip()
