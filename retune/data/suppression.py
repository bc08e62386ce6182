"""The list of rows that must not be learned from: `data/suppressed.json`, tracked by git, applied by curate.

    {"salt": "<32 hex>", "rows": [{"id_sha256": "...", "reason": "...", "by": "Name <mail>", "at": "<ISO 8601>"}]}

The list holds no id in clear: `id_sha256` is the sha256 of `salt:id`. A reader of the list can test a guessed id, so
this hides ids but does not protect them. The first row creates the salt, which never changes: under another salt no
row of the list would match. A list that cannot be read raises Refused and never counts as empty.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from retune.data.values import spellings
from retune.errors import Refused
from retune.system.stage_io import write_json

LIST = Path("data/suppressed.json")
FIELDS = ("id_sha256", "reason", "by", "at")
MEND = (
    "`git log -p` shows earlier versions and `git checkout COMMIT -- FILE` restores one; curate does not run without it"
)


@dataclass(frozen=True)
class Row:
    id_sha256: str
    reason: str
    by: str
    at: str


@dataclass(frozen=True)
class Suppression:
    salt: str = ""  # empty while the list is empty
    rows: tuple[Row, ...] = ()


NOTHING = Suppression()


def read(path: Path = LIST) -> Suppression:
    """The list. Raises Refused if it is missing, damaged, or in another format than `retune forget` writes."""
    try:
        return parse(path.read_bytes(), path)
    except FileNotFoundError:
        raise Refused(f"{path} is missing, so the rows that must not be learned from are unknown: {MEND}") from None
    except OSError as error:
        raise Refused(f"{path} is not a list of suppressed rows: {error}. {MEND}") from None


def parse(content: bytes, path: Path = LIST) -> Suppression:
    """The list in `content`; `path` is its place for messages."""
    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path} is not a list of suppressed rows: {error}. {MEND}") from None
    if problem := _problem(value):
        raise Refused(f"{path} is not a list of suppressed rows: {problem}. {MEND}")
    return Suppression(value["salt"], tuple(Row(**row) for row in value["rows"]))


def write(suppressions: Suppression, path: Path = LIST) -> None:
    write_json({"salt": suppressions.salt, "rows": [asdict(row) for row in suppressions.rows]}, path)


def contains(suppressions: Suppression, ids: pd.Series) -> pd.Series:
    """Whether each id is on the list: a mask with the index of `ids`; a million ids take seconds.

    1 and 1.0 are one id: which of them is on the list depends on the file in which the row came first.
    """
    if not suppressions.rows:
        return pd.Series(False, index=ids.index, dtype="bool")
    hashes = {row.id_sha256 for row in suppressions.rows}
    listed = [not hashes.isdisjoint(_hashes(suppressions.salt, spellings(name))) for name in ids]
    return pd.Series(listed, index=ids.index, dtype="bool")


def add(suppressions: Suppression, ids: Iterable[str], reason: str, by: str, at: str) -> Suppression:
    """The list with the missing ones of `ids` appended."""
    salt = suppressions.salt or secrets.token_hex(16)
    existing = {row.id_sha256 for row in suppressions.rows}
    fresh = [name for name in dict.fromkeys(_hashes(salt, ids)) if name not in existing]
    if not fresh:
        return suppressions
    return Suppression(salt, (*suppressions.rows, *(Row(name, reason, by, at) for name in fresh)))


def count(suppressions: Suppression) -> int:
    return len(suppressions.rows)


def _hashes(salt: str, ids: Iterable[str]) -> Iterable[str]:
    salted = hashlib.sha256(f"{salt}:".encode())
    for name in ids:
        one = salted.copy()
        one.update(name.encode("utf-8", "surrogatepass"))
        yield one.hexdigest()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises on a repeated key, as a careless merge leaves it: JSON would drop the first without a word."""
    if len(value := dict(pairs)) < len(pairs):
        raise ValueError(f"an object has a key twice: {', '.join(key for key, _ in pairs)}")
    return value


def _problem(value: Any) -> str:
    """What is wrong with the list; empty if it is valid."""
    if not isinstance(value, dict) or set(value) != {"salt", "rows"} or not isinstance(value["rows"], list):
        return 'it must be an object of "salt" and the list "rows"'
    if (value["salt"] != "" or value["rows"]) and not _is_hex(value["salt"], 32):
        return f"the salt is {value['salt']!r}, not 32 hexadecimal digits"
    numbers: dict[str, int] = {}
    for number, row in enumerate(value["rows"], 1):
        if not isinstance(row, dict) or set(row) != set(FIELDS) or {*map(type, row.values())} != {str}:
            return f"row {number} must be an object of the texts {', '.join(FIELDS)}"
        if not _is_hex(row["id_sha256"], 64):
            return f"the id_sha256 of row {number} is {row['id_sha256']!r}, not 64 hexadecimal digits"
        if not _is_time(row["at"]):
            return f"the time of row {number} is {row['at']!r}, not ISO 8601"
        if row["id_sha256"] in numbers:
            return f"rows {numbers[row['id_sha256']]} and {number} have the same id"
        numbers[row["id_sha256"]] = number
    return ""


def _is_hex(word: Any, digits: int) -> bool:
    return isinstance(word, str) and re.fullmatch(rf"[0-9a-f]{{{digits}}}", word) is not None


def _is_time(word: str) -> bool:
    try:
        datetime.fromisoformat(word)
    except ValueError:
        return False
    return True
