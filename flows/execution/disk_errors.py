"""What a full disk is called by whichever tool noticed it, and what to do then."""

import re
import shutil

FULL = re.compile("No space left on device|database or disk is full|Disk quota exceeded", re.IGNORECASE)
LEAST = 100_000  # bytes free, below which nothing that keeps books can work
ROOM = "The disk is full: make room, then give the same command again. What was begun is finished or taken away first."


def is_full(message: str) -> bool:
    return bool(FULL.search(message))


def first_line(message: str) -> str:
    """The line of a message that tells of a full disk, else its first one."""
    lines = message.splitlines() or [""]
    return next((line for line in lines if is_full(line)), lines[0])


def in_short(message: str) -> str:
    """The first line and the last: of a full disk git has one for each file that it could not write."""
    lines = message.strip().splitlines()
    if len(lines) < 4:
        return message.strip()
    return f"{lines[0]} … {len(lines) - 2} more lines … {lines[-1]}"


def advised(message: str) -> str:
    """The message, and what to do if it tells of a full disk, or there is one: a server only says that it broke."""
    full = is_full(message) or shutil.disk_usage(".").free < LEAST
    return f"{message}\n{ROOM}" if full else message
