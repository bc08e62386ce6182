"""People's verdicts on the labels of rows: `data/label_verdicts.json`, tracked by git, applied by curate.

    {"rows": [{"id": "T-17", "text_sha256": "<64 hex>", "from": "billing", "to": "refunds",
               "reviewer": "Ada", "at": "2026-11-30"}]}

A row says: whoever reviewed it saw the text with this hash under the label `from`, and would have it under `to`. Where
both are the same the label is confirmed; where `to` is null the row is to be dropped. The records themselves stay as
they came: the file lies over them. A verdict holds for what was reviewed, so it does not apply to a row whose text or
label changed since. `text_sha256` is of the curated text, without personal data.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from retune.errors import Refused
from retune.system.stage_io import write_json

FILE = Path("data/label_verdicts.json")
FIELDS = ("id", "text_sha256", "from", "to", "reviewer", "at")
MEND = (
    "`git log -p` shows earlier versions and `git checkout COMMIT -- FILE` restores one; curate does not run without it"
)


@dataclass(frozen=True)
class Verdict:
    id: str
    text_sha256: str
    before: str  # the label that was reviewed
    after: str | None  # the label that it becomes, the same if it is confirmed; None: the row is dropped
    reviewer: str
    at: str  # a day of ISO 8601

    @property
    def drops(self) -> bool:
        return self.after is None

    @property
    def confirms(self) -> bool:
        return self.after == self.before

    def applies(self, text: str, label: str) -> bool:
        """Whether it is about this text and label."""
        return label == self.before and self.text_sha256 == digest(text)

    def in_force(self, text: str, label: str) -> bool:
        """Whether a row that stays is as the verdict would have it."""
        return label == self.after and self.text_sha256 == digest(text)

    def __str__(self) -> str:
        what = "drop it" if self.drops else f"keep {self.before}" if self.confirms else f"{self.before} → {self.after}"
        return f"{what} ({self.reviewer}, {self.at})"


Verdicts = dict[str, Verdict]  # by id of the row


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def read(path: Path = FILE) -> Verdicts:
    """The verdicts. Raises Refused if the file is missing, damaged, or in another format than ours."""
    try:
        return parse(path.read_bytes(), path)
    except FileNotFoundError:
        raise Refused(f"{path} is missing, so what people said of the labels is unknown: {MEND}") from None
    except OSError as error:
        raise Refused(f"{path} is no file of verdicts: {error}. {MEND}") from None


def parse(content: bytes, path: Path = FILE) -> Verdicts:
    """The verdicts in `content`; `path` is its place for messages."""
    try:
        value = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path} is no file of verdicts: {error}. {MEND}") from None
    if problem := _problem(value):
        raise Refused(f"{path} is no file of verdicts: {problem}. {MEND}")
    verdicts = [Verdict(*(row[name] for name in FIELDS)) for row in value["rows"]]
    return {verdict.id: verdict for verdict in verdicts}


def write(verdicts: Iterable[Verdict], path: Path = FILE) -> None:
    """In the order of the ids, so that two branches that add verdicts meet seldom."""
    ordered = sorted(verdicts, key=lambda verdict: verdict.id)
    write_json({"rows": [dict(zip(FIELDS, vars(verdict).values(), strict=True)) for verdict in ordered]}, path)


def _problem(value: Any) -> str:
    """What is wrong with the file; empty if it is valid."""
    if not isinstance(value, dict) or set(value) != {"rows"} or not isinstance(value["rows"], list):
        return 'it must be an object with the list "rows"'
    numbers: dict[str, int] = {}
    for number, row in enumerate(value["rows"], 1):
        if not isinstance(row, dict) or set(row) != set(FIELDS) or not _are_texts(row):
            return f"row {number} must be an object of the words {', '.join(FIELDS)}, of which `to` alone may be null"
        if not re.fullmatch("[0-9a-f]{64}", row["text_sha256"]):
            return f"the text_sha256 of row {number} is {row['text_sha256']!r}, not 64 hexadecimal digits"
        if not _is_day(row["at"]):
            return f"the day of row {number} is {row['at']!r}, not ISO 8601"
        if row["id"] in numbers:
            return f"rows {numbers[row['id']]} and {number} are both of the id {row['id']!r}"
        numbers[row["id"]] = number
    return ""


def _are_texts(row: dict[str, Any]) -> bool:
    return all(
        (isinstance(value, str) and value.strip()) or (name == "to" and value is None) for name, value in row.items()
    )


def _is_day(word: str) -> bool:
    try:
        date.fromisoformat(word)
    except ValueError:
        return False
    return True
