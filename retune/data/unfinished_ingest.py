"""A note that an ingest is at work in data/raw, so that what a killed one leaves differs from what git or people do.

It says what stood there before. An ingest that ends, well or with an error, takes it away.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from retune.system.files import write_text

NOTE = Path(".retune/unfinished-ingest.json")


@dataclass(frozen=True)
class Before:
    """data/raw and its pointer before the ingest."""

    pointer: str | None  # the text of data/raw.dvc; None if there was none
    files: tuple[str, ...]  # in data/raw


@contextmanager
def announced(raw: Path) -> Iterator[None]:
    """Leave the note while the block lasts."""
    pointer = raw.with_name(f"{raw.name}.dvc")
    before = Before(pointer.read_text("utf-8") if pointer.exists() else None, tuple(names(raw)))
    write_text(NOTE, json.dumps({"pointer": before.pointer, "files": before.files}) + "\n")
    try:
        yield
    finally:
        NOTE.unlink(missing_ok=True)


def read() -> Before | None:
    """What a killed ingest noted; None if none was killed."""
    try:
        values = json.loads(NOTE.read_text("utf-8"))
        return Before(values["pointer"], tuple(values["files"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def names(raw: Path) -> list[str]:
    """The files in data/raw, less those that are being written."""
    paths = (path.relative_to(raw) for path in sorted(raw.rglob("*")) if path.is_file())
    return [str(path) for path in paths if not path.name.startswith(".")]
