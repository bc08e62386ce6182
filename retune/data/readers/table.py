"""A source as it was read: its columns, its rows with their places, and the rows that could not be read.

A row that cannot be read is no reason to lose the others. Whoever reads finds its fault: the reader of the file, the
conversion of a cell to text, the format of conversations. The row becomes a `Reject`, which `retune.data.rejects`
counts, shows and keeps.
"""

import json
import re
import reprlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

SIDE_OF = {"train": "train", "val": "val", "validation": "val", "dev": "val", "test": "test"}
HALF_PAIR = re.compile("[\ud800-\udfff]")
NO_TEXT, NOT_UTF8, HALF_CHARACTER = "no text", "not UTF-8", "half a character"  # reasons


@dataclass(frozen=True)
class Fault:
    """Why a row cannot be read."""

    reason: str  # one of few, by which rows are counted
    message: str  # of this row: what is wrong, the value, what to do


Faults = dict[int, Fault]  # row of a table -> its first fault


@dataclass(frozen=True)
class Reject:
    """A row that cannot be read."""

    unit: str  # what `place` counts: line or row
    place: int  # where in the source it begins
    fault: Fault
    content: str

    def __str__(self) -> str:
        return f"{self.unit} {self.place}: {self.fault.message}"


class NumberText(str):
    """A number of a JSON file as it is written there: 1.10 stays 1.10, and an id of 20 digits keeps them all."""


class NoText(ValueError):
    """A cell is not a text. Says what is wrong and what to do."""

    def __init__(self, wrong: str, remedy: str, reason: str = NO_TEXT) -> None:
        super().__init__(f"{wrong}{remedy}")
        self.remedy, self.reason = remedy, reason


@dataclass(frozen=True)
class Table:
    """A source as it was read, before its columns are assigned."""

    name: str
    names: Sequence[str]
    places: Sequence[int]  # where each row begins
    column: Callable[[str], Sequence[Any]]
    unit: str = "line"  # what `places` counts
    sides: Sequence[str] = ()  # if the source itself assigns each row to a split
    rejects: Sequence[Reject] = ()  # rows that the reader could not read; they have no place in `places`
    notes: Sequence[str] = ()  # what the reader decided by itself, a sentence each

    def place(self, row: int) -> str:
        return f"{self.name}, {self.unit} {self.places[row]}"

    def words(self, column: str, faults: Faults) -> list[str]:
        """A column as text. A cell that is no text is empty, and a fault of its row."""
        return [self._word(value, column, row, faults) for row, value in enumerate(self.column(column))]

    def _word(self, value: Any, column: str, row: int, faults: Faults) -> str:
        try:
            return word(value)
        except NoText as error:
            faults.setdefault(row, Fault(error.reason, f"{column} is {reprlib.repr(value)}{error}"))
            return ""

    def all_rejects(self, faults: Faults) -> list[Reject]:
        """Those of the reader, and the rows with a fault, in the order of the source."""
        contents = self._contents(faults)
        found_later = [Reject(self.unit, self.places[row], fault, contents[row]) for row, fault in faults.items()]
        return sorted([*self.rejects, *found_later], key=lambda reject: reject.place)

    def _contents(self, rows: Collection[int]) -> dict[int, str]:
        records: dict[int, dict[str, Any]] = {row: {} for row in rows}
        for name in self.names if records else ():
            values = self.column(name)
            for row, record in records.items():
                record[name] = values[row]
        return {row: json.dumps(record, default=str) for row, record in records.items()}


def as_numbers(value: Any) -> Any:
    """A JSON value with numbers as numbers, for what is JSON again."""
    if isinstance(value, dict):
        return {key: as_numbers(each) for key, each in value.items()}
    if isinstance(value, list):
        return [as_numbers(each) for each in value]
    return json.loads(value) if isinstance(value, NumberText) else value


def word(value: Any) -> str:
    """A cell as text: null is empty, true is `true`, 7.0 is 7. Raises NoText."""
    if isinstance(value, str):
        if value.isascii() or not HALF_PAIR.search(value):
            return value
        wrong = ", which holds half a surrogate pair and so is not UTF-8: "
        raise NoText(wrong, "correct the export", HALF_CHARACTER)
    if value is None or value != value:  # pandas writes a missing value as NaN
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # pandas reads whole numbers as floats if the column lacks a value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise NoText(", which is not UTF-8: ", "write it as text in the export", NOT_UTF8) from None
    if isinstance(value, list):
        raise NoText(", several values in one cell: ", "give text or a number")
    if isinstance(value, dict):
        raise NoText(": ", "give text or a number")
    return str(value)
