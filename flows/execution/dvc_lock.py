"""DVC's own lock of a folder: waited for as our own are, then named by its holder.

DVC gives up after three seconds. An editor's extension asks `dvc status` all the time, and may hold it for longer.
"""

import fcntl
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from retune.errors import Broken

FILE = Path(".dvc/tmp/lock")
LOCKS = Path("/proc/locks")  # Linux: number, kind, mode, access, process, device:inode of each lock
PAUSE = 0.1  # seconds between two attempts
WAIT = "--wait-for-lock"  # for DVC: also where it takes the lock once more, after a stage


class Held(Broken):
    """Another process held DVC's lock for as long as the command could wait."""


def wait(seconds: float, say: Callable[[str], None]) -> None:
    """Wait until nobody holds the lock of this folder, and `say` who does. Raises Held after `seconds`."""
    began, is_known = time.monotonic(), False
    while is_held():
        if time.monotonic() - began > seconds:
            raise Held(
                f"{holder()} has held DVC's lock of this folder ({FILE}) for {seconds:.0f} s; nothing was changed",
                remedy="wait until it ends, or end it (an editor's DVC extension can be paused), and try again",
            )
        if not is_known:
            say(f"waiting for DVC's lock, which {holder()} holds")
            is_known = True
        time.sleep(PAUSE)


def is_held() -> bool:
    try:
        with FILE.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock yet, or not ours to read: DVC says what is wrong with it
        return False
    return False


def holder() -> str:
    """The process that holds the lock, in words."""
    process = _owner()
    if process is None:
        return "another process"
    try:
        return f"process {process} (`{' '.join(psutil.Process(process).cmdline())[:80]}`)"
    except psutil.Error:
        return f"process {process}"


def _owner() -> int | None:
    try:
        inode = str(FILE.stat().st_ino)
        entries = [line.split() for line in LOCKS.read_text("utf-8").splitlines()]
    except OSError:
        return None
    owners = [entry[4] for entry in entries if len(entry) > 5 and entry[5].rpartition(":")[2] == inode]
    return next((int(owner) for owner in owners if owner.isdigit() and int(owner) > 0), None)
