"""Forgotten rows in the log of what was served: the same texts, as customers sent them.

retune forget T-00042 --reason "asked to be forgotten"
"""

from collections.abc import Sequence
from pathlib import Path

from retune.serving import database, served_rows
from tasks.forget import forget


def forget_served(ids: Sequence[str], raw: Path = forget.RAW) -> int:
    """Take the texts of these ids, in every state that they had, out of the log. Returns how many rows held one.

    Raises Broken where the database is away: then the log may still hold them.
    """
    engine = database.find()
    return served_rows.forget(engine, forget.texts_of(ids, raw)) if engine else 0
