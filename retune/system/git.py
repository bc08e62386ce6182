"""git: the only module that runs it. Plumbing for other modules, and who works here.

git.output("rev-parse", "HEAD")       what git prints, as text
git.run("fetch", cwd=folder)          what git prints, as bytes
git.succeeds("check-ignore", "-q", p) git's answer as an exit status
"""

import getpass
import hashlib
import os
import socket
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from retune.errors import Broken, Refused, WrongUse

NO_HOOKS = ("-c", f"core.hooksPath={os.devnull}")  # a hook of the user's would stop or change what a command does


class GitError(Broken):
    """A git command failed; `stderr` is what git wrote about it."""

    def __init__(self, arguments: Sequence[str], stderr: str) -> None:
        super().__init__(f"git {arguments[0]} failed: {stderr}")
        self.stderr = stderr


class GitObject(NamedTuple):
    kind: str  # blob, tree, commit or tag
    content: bytes


# A command in `cwd` (this folder if none), with `env` as its whole environment (this process's if none).


def run(
    *arguments: str,
    cwd: Path | None = None,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
) -> bytes:
    """The standard output of a git command. Raises GitError if it fails, unless `check` is off."""
    done = _process(arguments, cwd, stdin, env)
    if check and done.returncode:
        raise GitError(arguments, done.stderr.decode(errors="replace").strip())
    return done.stdout


def output(
    *arguments: str,
    cwd: Path | None = None,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
) -> str:
    """The standard output as text, without its last line end. A path that is not UTF-8 survives `os.fsencode`."""
    return os.fsdecode(run(*arguments, cwd=cwd, stdin=stdin, env=env, check=check)).rstrip("\n")


def succeeds(*arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> bool:
    """Whether git exits with 0."""
    return not _process(arguments, cwd, None, env).returncode


def _process(
    arguments: Sequence[str], cwd: Path | None, stdin: bytes | None, env: Mapping[str, str] | None
) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", *NO_HOOKS, *arguments], cwd=cwd, input=stdin, env=env, capture_output=True)
    except FileNotFoundError as error:
        if error.filename != "git":
            raise
        raise Broken("git is not installed, or not on PATH", remedy="install it: Retune records commits") from None


def main_checkout() -> Path:
    """The folder of the clone, also from one of its worktrees: they all share its `.retune`."""
    common = Path(output("rev-parse", "--git-common-dir", check=False) or ".git").resolve()
    if common.name == ".git":
        return common.parent
    folder = output("config", "--file", str(common / "config"), "core.worktree", check=False)  # of a submodule
    return (common / folder).resolve() if folder else Path.cwd()


def subfolder() -> str:
    """The path of this folder below the root of its repository; empty at the root, and outside of any."""
    return output("rev-parse", "--show-prefix", check=False).rstrip("/")


def require_commit() -> str:
    """The commit that is checked out. Raises Refused where git refuses to work here, or has no commit yet."""
    try:
        return output("rev-parse", "--verify", "HEAD^{commit}")
    except GitError as error:
        complaint = " ".join(error.stderr.split())
    if "safe.directory" in complaint:
        raise Refused(
            f"another account owns this checkout, and git refuses to work in it: {Path.cwd()}",
            remedy=f"`git config --global --add safe.directory {Path.cwd()}` if you trust it, or work in a clone of "
            "your own",
        )
    if succeeds("rev-parse", "--git-dir"):
        raise Refused(
            "there is no commit here yet, and Retune records the commit of every model",
            remedy="`git add --all` and `git commit`",
        )
    raise Refused(
        f"git does not work in {Path.cwd()}: {complaint}", remedy="run Retune in a git clone with at least one commit"
    )


def unmerged() -> list[str]:
    """The files that a merge, rebase or cherry-pick left in conflict."""
    entries = output("ls-files", "--unmerged", "-z", check=False).split("\0")
    return sorted({entry.partition("\t")[2] for entry in entries if entry})


def commit() -> tuple[str, bool]:
    """The commit that is checked out, and whether a tracked file differs from it."""
    head = output("rev-parse", "HEAD", check=False)
    return head or "none", output("status", "--porcelain", "--untracked-files=no", check=False) != ""


def is_edited(path: str) -> bool:
    """Whether a file differs from the commit that is checked out."""
    return output("status", "--porcelain", "--", path, check=False) != ""


def diff_sha256(commit: str, other: str) -> str:
    """sha256 of what `git diff-tree -p --binary --full-index COMMIT OTHER` prints, which no git setting changes."""
    diff = run("diff-tree", "-p", "--binary", "--full-index", commit, other, check=False)
    return hashlib.sha256(diff).hexdigest()


def blobs(commit: str, paths: Iterable[str]) -> dict[str, bytes]:
    """path -> content of those of the files that the commit has."""
    names = list(paths)
    pairs = zip(names, objects([f"{commit}:{path}" for path in names]), strict=True)
    return {path: entry.content for path, entry in pairs if entry}


def objects(names: Sequence[str]) -> list[GitObject | None]:
    """The objects of these names, in order; None for one that git does not have or cannot read.

    One process reads them all, unless one is damaged: that would end it before the others.
    """
    done = _process(("cat-file", "--batch"), None, "".join(f"{name}\n" for name in names).encode(), None)
    if done.returncode and len(names) > 1:
        return [entry for name in names for entry in objects([name])]
    return list(_parse_batch(done.stdout, len(names)))


def _parse_batch(answer: bytes, count: int) -> Iterator[GitObject | None]:
    """`HASH KIND SIZE`, then as many bytes and a line end; `NAME missing` for what git does not have."""
    for _ in range(count):
        head, _, answer = answer.partition(b"\n")
        words = head.split()
        if len(words) != 3 or not words[2].isdigit():
            yield None
            continue
        size = int(words[2])
        yield GitObject(words[1].decode(), answer[:size])
        answer = answer[size + 1 :]


def commit_tree(tree: str, parents: Sequence[str], message: str) -> str:
    """Write a commit of a tree, signed by `identity`, to which nothing points yet. Returns its hash."""
    words = [word for parent in parents for word in ("-p", parent)]
    return output("commit-tree", tree, *words, "-m", message, env={**os.environ, **author_variables()})


def tag(name: str, commit: str, message: str, seconds: int) -> None:
    """Write an annotated tag on a commit, by `identity` at `seconds` since 1970. `tag.gpgSign` does not change it."""
    env = {**os.environ, **author_variables(), "GIT_COMMITTER_DATE": f"{seconds} +0000"}
    words = ("--annotate", "--no-sign", "--cleanup=verbatim", "--file=-")
    run("tag", *words, name, commit, stdin=message.encode(), env=env)


def author_variables() -> dict[str, str]:
    """The environment in which git can sign a commit or a tag: as the account, where git does not know the user."""
    account = {"NAME": _account(), "EMAIL": f"{_account()}@{socket.gethostname()}"}
    values = {what: _author(what) or account[what] for what in account if not _configured(what)}
    names = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in values.items()}
    return {name: value for name, value in names.items() if name not in os.environ}


def identity() -> str:
    """Who works here, as git signs it: Name <mail>."""
    signature = output("var", "GIT_COMMITTER_IDENT", env={**os.environ, **author_variables()}, check=False)
    return signature.rpartition(">")[0] + ">" if ">" in signature else _account()


def require_person() -> str:
    """Who decides here, as `identity`. Raises WrongUse if git does not know the person: an account is not enough."""
    missing = [
        f"user.{what.lower()}"
        for what in ("NAME", "EMAIL")
        if not (os.environ.get(f"GIT_COMMITTER_{what}") or _configured(what) or _author(what))
    ]
    if missing:
        raise WrongUse(
            f"a decision is kept with the name of a person, and git knows no {' and no '.join(missing)} here: "
            'say `git config user.name "YOUR NAME"` and `git config user.email YOU@EXAMPLE.COM`, or set '
            "GIT_AUTHOR_NAME and GIT_AUTHOR_EMAIL"
        )
    return identity()


def _configured(what: str) -> str:
    return output("config", f"user.{what.lower()}", check=False)


def _author(what: str) -> str:
    """The author of the environment, who is also the committer where none is named."""
    return os.environ.get(f"GIT_AUTHOR_{what}", "")


def _account() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run under a number that has no name
        return f"uid-{os.getuid()}"
