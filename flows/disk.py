"""What a full disk is called by whichever tool noticed it, and what to do then."""

import re

FULL = re.compile("No space left on device|database or disk is full|Disk quota exceeded", re.IGNORECASE)
ROOM = "The disk is full: make room, then give the same command again. What was begun is finished or taken away first."


def is_full(message: str) -> bool:
    return bool(FULL.search(message))


def advised(message: str) -> str:
    """The message, and what to do if it tells of a full disk."""
    return f"{message}\n{ROOM}" if is_full(message) else message
