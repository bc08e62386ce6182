"""Join the two sides of a merge of data/raw.dvc: for `retune ingest --merge`, and for git while it merges.

    python -m flows.execution.raw_merge BASE OURS THEIRS     git's merge driver: writes the joined pointer into OURS

`make setup` tells git of the driver (infra/merge_driver.py), and .gitattributes names the file. It joins the pointer;
the bytes come with `dvc checkout`, or with the next ingest or run. What it cannot join, git leaves as a conflict.
"""

import sys
import tempfile
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml

from flows.execution import dvc
from retune.data import raw_merge, source_facts
from retune.errors import Refused, RetuneError, WrongUse
from retune.system import dvc_files, dvc_store, git
from retune.system.dvc_files import POINTER, RAW
from retune.system.files import write_bytes

T = TypeVar("T")
STAGES = (1, 2, 3)  # of a file in git's index: base, ours, theirs


@dataclass(frozen=True)
class Joined:
    """A pointer to all parts of both sides."""

    pointer: bytes
    our_parts: int
    parts: int
    overruled: tuple[str, ...]  # facts of sources that theirs states otherwise


def merge() -> Joined:
    """Join the sides of the conflict in data/raw.dvc, bring the bytes, and tell git that it is resolved.

    Raises Refused, and changes nothing, if the sides cannot be joined or their bytes are nowhere.
    """
    joined = join(*_sides())
    listing = dvc_store.listing(_md5(joined.pointer))
    _require_bytes(listing)
    write_bytes(POINTER, joined.pointer)
    if not dvc_store.are_cached(POINTER):
        dvc.fetch(str(POINTER))
    dvc.checkout_cached(str(POINTER))
    if str(POINTER) in git.unmerged():
        git.run("add", "--", str(POINTER))
    return joined


def _sides() -> tuple[bytes, bytes, bytes]:
    """Base, ours and theirs: of git's index, else from between the markers in the file."""
    if str(POINTER) in git.unmerged():
        base, our_side, their_side = (git.run("show", f":{stage}:{POINTER}", check=False) for stage in STAGES)
        if not our_side or not their_side:
            raise raw_merge.NotOnlyAdded(
                f"one side of the merge removed {POINTER}, and the other changed it",
                remedy=f"`git checkout --ours {POINTER}` (or --theirs), or `git rm {POINTER}`",
            )
        return base, our_side, their_side
    content = POINTER.read_bytes() if POINTER.exists() else b""
    if not dvc_files.in_conflict(content):
        raise WrongUse(f"{POINTER} is in no merge conflict, so there is nothing to join")
    return dvc_files.sides(content)


def join(base: bytes, our_side: bytes, their_side: bytes) -> Joined:
    """The pointer to the parts of both sides, whose listing is in the cache from here on. Raises Refused."""
    listings = [_listing(side) if side.strip() else {} for side in (base, our_side, their_side)]
    joined = raw_merge.join_parts(*listings)
    facts = raw_merge.join_facts([_facts(listing) for listing in listings])
    with tempfile.TemporaryDirectory() as scratch:
        if facts:
            source_facts.write(facts.stated, Path(scratch))
            joined[source_facts.FILE] = dvc_store.keep((Path(scratch) / source_facts.FILE).read_bytes())
    md5 = dvc_store.keep(raw_merge.encode(joined), ".dir")
    size = sum(_from_either(dvc_store.size, each) for each in joined.values())
    entry = {"md5": md5, "size": size, "nfiles": len(joined), "hash": "md5", "path": RAW.name}
    pointer = yaml.safe_dump({"outs": [entry]}, sort_keys=False).encode()
    return Joined(pointer, len(_parts(listings[1])), len(_parts(joined)), facts.overruled if facts else ())


def _parts(listing: raw_merge.Listing) -> list[str]:
    return [path for path in listing if path != source_facts.FILE]


def _md5(pointer: bytes) -> str:
    return str(dvc_files.entry_of(dvc_files.parse(pointer, POINTER), POINTER)["md5"])


def _listing(pointer: bytes) -> dict[str, str]:
    return _from_either(dvc_store.listing, _md5(pointer))


def _facts(listing: raw_merge.Listing) -> bytes | None:
    return _from_either(dvc_store.read_bytes, listing[source_facts.FILE]) if source_facts.FILE in listing else None


def _from_either(read: Callable[[str], T], md5: str) -> T:
    """From the DVC store of this folder, else from that of the clone whose worktree it is."""
    try:
        return read(md5)
    except RetuneError:
        with chdir(git.main_checkout()):
            return read(md5)


def _require_bytes(listing: dict[str, str]) -> None:
    for path, md5 in listing.items():
        try:
            dvc_store.open_bytes(md5).close()
        except dvc_store.MissingBytes:
            raise Refused(
                f"{path} is neither in the DVC cache nor in a remote, so the sides cannot be joined here",
                remedy="`dvc push` where it was ingested, then try again",
            ) from None


def main() -> int:
    """What git calls, in the root of a worktree. Exit code 1 leaves an ordinary conflict."""
    base, our_side, their_side = map(Path, sys.argv[1:4])
    try:
        joined = join(base.read_bytes(), our_side.read_bytes(), their_side.read_bytes())
    except RetuneError as error:
        print(f"{POINTER} stays in conflict: {error}", file=sys.stderr)
        return 1
    our_side.write_bytes(joined.pointer)
    print(f"{POINTER}: joined the parts of both sides, {joined.parts} in all; `dvc checkout {POINTER}` brings them")
    for line in joined.overruled:
        print(f"{POINTER}: {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
