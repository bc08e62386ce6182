"""A process by a name that fits no other: host, number and when it started. A number alone is given out again.

On Linux the start is counted in ticks since the machine booted, with that boot's id, so that a clock that is set back
changes no name; elsewhere it is the time that the system tells.
"""

import os
import socket
from pathlib import Path

PROC = Path("/proc")
BOOT = PROC / "sys/kernel/random/boot_id"


def name(pid: int | None = None) -> str:
    """Host, process number and when it started, of this process if none is given."""
    pid = pid or os.getpid()
    return f"{socket.gethostname()} {pid}@{_began(pid)}"


def here(process: str) -> bool:
    """Whether a process of that name would be of this machine, so that `alive` can know."""
    return process.partition(" ")[0] == socket.gethostname()


def number(process: str) -> int:
    return int(process.partition(" ")[2].partition("@")[0])


def alive(process: str) -> bool:
    """Whether the process of that name is at work on this machine. What has ended and is not yet buried is not."""
    pid, _, began = process.partition(" ")[2].partition("@")
    return bool(here(process) and pid.isdigit() and began and _began(int(pid)) == began)


def _began(pid: int) -> str:
    """Empty if there is no such process."""
    if BOOT.exists():
        try:
            fields = (PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] in "ZX" else f"{BOOT.read_text('ascii')[:8]}:{fields[19]}"
    import psutil

    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return ""
