"""Files: their hashes, and writing them whole or not at all."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retune.errors import WrongUse


def file_sha256(path: Path) -> str:
    """64 hexadecimal digits. Raises OSError if the file cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_md5(path: Path) -> str:
    """32 hexadecimal digits: the name by which DVC knows the content. Raises OSError if the file cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def bytes_md5(content: bytes) -> str:
    """32 hexadecimal digits: the name by which DVC knows the content."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@contextmanager
def replace_whole(path: Path) -> Iterator[Path]:
    """Yield a path to write to; at the end of the block, that file takes the place of `path` in one step.

        with replace_whole(Path("report.json")) as unfinished:
            unfinished.write_text(report, "utf-8")

    On an error `path` stays as it was. A process that is killed leaves a file `.<name>.<process>.tmp` beside it.
    Makes the folder of `path` if it is missing. Raises WrongUse where `path` is a device or a pipe.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise WrongUse(f"{path} is a device or a pipe: name a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_private_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all, into a file that only its owner can read."""
    with replace_whole(path) as unfinished:
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content`, whole or not at all."""
    with replace_whole(path) as unfinished:
        unfinished.write_bytes(content)
