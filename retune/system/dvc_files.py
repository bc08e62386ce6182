"""The files that DVC writes and git keeps, pointers and dvc.lock: read as they are, or refused in words."""

import re
from pathlib import Path
from typing import Any

import yaml

from retune.errors import Refused

RAW, POINTER, LOCK = Path("data/raw"), Path("data/raw.dvc"), Path("dvc.lock")
CONFLICT = re.compile(rb"^<{7} .*^>{7} ", re.MULTILINE | re.DOTALL)  # what git writes around the two sides
MARKER = re.compile(rb"([<|=>])\1{6}( |\r?\n)")  # the line before each of its parts
MD5 = re.compile(r"^[0-9a-f]{32}(\.dir)?$")
REMEDIES = {
    POINTER: "`retune ingest --merge` joins the parts of both sides, or `git checkout --ours data/raw.dvc` (or "
    "--theirs), then `dvc checkout data/raw.dvc`, takes one of them",
    LOCK: "it only says what ran last: `git checkout --ours dvc.lock` and `git add dvc.lock`; `retune run` brings it "
    "up to date",
}


class Conflict(Refused):
    """Two sides of a merge stand in the file, or in git's index."""

    def __init__(self, path: Path) -> None:
        remedy = REMEDIES.get(path, f"edit it so that what both sides mean is kept, then `git add {path}`")
        super().__init__(f"{path} is in a merge conflict, so nothing was changed", remedy=remedy)


class Damaged(Refused):
    """The file is not as DVC writes it, nor in a merge conflict."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is damaged: it is not as DVC writes it", remedy=f"`git checkout -- {path}` brings it back"
        )


def in_conflict(content: bytes) -> bool:
    """Whether git's conflict markers stand in a file, whatever its line ends."""
    return bool(CONFLICT.search(content))


def sides(content: bytes) -> tuple[bytes, bytes, bytes]:
    """Base, ours and theirs of a file with conflict markers; the base is empty unless git wrote it between them."""
    lines: tuple[list[bytes], list[bytes], list[bytes]] = ([], [], [])
    place: int | None = None  # outside of the markers a line belongs to all three
    for line in content.splitlines(keepends=True):
        if (marker := MARKER.match(line)) and (marker[1] != b"=" or place is not None):
            place = {b"<": 1, b"|": 0, b"=": 2, b">": None}[marker[1]]
            continue
        for side in range(3) if place is None else [place]:
            lines[side].append(line)
    base, our_side, their_side = map(b"".join, lines)
    return (base if b"|||||||" in content else b""), our_side, their_side


def load(path: Path) -> dict[str, Any]:
    """The content of a file that DVC wrote. Raises Conflict or Damaged."""
    return parse(path.read_bytes(), path)


def parse(content: bytes, path: Path) -> dict[str, Any]:
    """As `load`, of what stood in `path` some time."""
    if in_conflict(content):
        raise Conflict(path)
    try:
        values = yaml.safe_load(content.decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        raise Damaged(path) from None
    if not isinstance(values, dict):
        raise Damaged(path)
    return values


def output(pointer: Path) -> dict[str, Any]:
    """What a pointer says of its one file or folder: md5, size, nfiles, path. Raises Conflict or Damaged."""
    return entry_of(load(pointer), pointer)


def entry_of(values: dict[str, Any], pointer: Path) -> dict[str, Any]:
    outs = values.get("outs")
    entry = outs[0] if isinstance(outs, list) and outs and isinstance(outs[0], dict) else {}
    if not MD5.match(str(entry.get("md5"))) or entry.get("path") != pointer.stem:
        raise Damaged(pointer)
    return entry


def pointer_md5(pointer: Path = POINTER) -> str:
    """The DVC hash that a pointer names. Raises Conflict or Damaged."""
    return str(output(pointer)["md5"])
