"""Thumbs: the column in which people said whether they liked an answer."""

import re
from collections.abc import Collection
from typing import Any

from retune.data.readers.table import Table

COLUMNS = ("label", "kto_tag", "thumbs_up", "thumbs", "thumb", "liked")
UP = ("true", "up", "good", "like", "liked", "positive", "desirable", "👍")
DOWN = ("false", "down", "bad", "dislike", "disliked", "negative", "undesirable", "👎")
NUMBERS = {"1": True, "1.0": True, "0": False, "0.0": False, "-1": False, "-1.0": False}
SHADES = re.compile("[\U0001f3fb-\U0001f3ff\ufe0e\ufe0f]")  # of a hand's skin, and whether a sign is drawn in colour
LIKED = {word: word in UP for word in (*UP, *DOWN)}


def column(table: Table, other_use: Collection[str | None]) -> str | None:
    """The column of thumbs, if there is one: by its name and its values, and not one that has another use."""
    return next(
        (name for name in COLUMNS if name in table.names and name not in other_use and _judges(table, name)), None
    )


def _judges(table: Table, name: str) -> bool:
    """A column of numbers judges if it has no others; one word such as `false` suffices."""
    words = {_word(value) for value in table.column(name)} - {""}
    return bool(words & LIKED.keys()) or (bool(words) and words <= NUMBERS.keys())


def liked(value: Any) -> bool | None:
    """What a thumb says; None if it says nothing."""
    return (LIKED | NUMBERS).get(_word(value))


def _word(value: Any) -> str:
    return "" if value is None else SHADES.sub("", str(value)).strip().lower()
