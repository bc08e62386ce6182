"""One writer at a time: others wait for it. The lock is the operating system's and goes with its process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from retune.errors import Broken


@contextmanager
def waiting(path: Path, seconds: float, who: str) -> Iterator[None]:
    """Hold the lock at `path`. Raises Broken if another, `who` by name, has held it for `seconds`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=seconds):
            yield
    except Timeout:
        raise Broken(f"another {who} has held {path} for {seconds:g} s: wait for it or end it") from None
