"""Recognises a full disk in the messages of the tools that notice it, and says what to do then."""

import re
import shutil

FULL = re.compile("No space left on device|database or disk is full|Disk quota exceeded", re.IGNORECASE)
LEAST = 100_000  # free bytes that any database needs to work
ROOM = "The disk is full: make room, then run the same command again. It finishes or removes unfinished work first."


def is_full(message: str) -> bool:
    return bool(FULL.search(message))


def first_line(message: str) -> str:
    """The line of a message that reports a full disk, else its first line."""
    lines = message.splitlines() or [""]
    return next((line for line in lines if is_full(line)), lines[0])


def in_short(message: str) -> str:
    """The first line and the last: of a full disk git has one for each file that it could not write."""
    lines = message.strip().splitlines()
    if len(lines) < 4:
        return message.strip()
    return f"{lines[0]} … {len(lines) - 2} more lines … {lines[-1]}"


def advised(message: str) -> str:
    """The message, and what to do if it reports a full disk or the disk is full: a server only says that it broke."""
    full = is_full(message) or shutil.disk_usage(".").free < LEAST
    return f"{message}\n{ROOM}" if full else message
