"""How far a stream of records has been read, and the files that its records are written to.

A cursor such as `updated_at` is no serial number: several records share a value, and one more may turn up with the
highest value after the fetch. So the mark keeps the two highest values, with the records seen there, and the next
fetch asks from the lower one. Whether the source answers `>` or `>=`, no tie is lost, and what was seen is not
written again.

What this does not cover: a record that becomes visible late, under a value well below the mark (a transaction that was
long in committing). Where that happens, let the source step back by itself: `changed >= :cursor - interval '1 hour'`.
"""

import hashlib
import re
import reprlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from retune.data.intake_branch import Cursor
from retune.errors import Broken, Refused

NUMBER = re.compile(r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?")
AHEAD = timedelta(days=1)  # a time without a zone may be this much ahead
LINES = 1000  # to write at once
MAX_DIGESTS = 1000  # records at a value; of more none is remembered, and ingest sorts them out

Key = tuple[str, Any]  # a kind of value, and what it is ordered by


@dataclass
class Watermark:
    order: Callable[[Any], Key]
    values: dict[Key, Any] = field(default_factory=dict)  # the two highest, as the source wrote them
    places: dict[str, Key] = field(default_factory=dict)  # digest of a record -> where it stands

    @property
    def lower(self) -> Any | None:
        """Where the next question begins; None: at the start."""
        return self.values[min(self.values)] if len(self.values) == 2 else None

    @property
    def last(self) -> Any | None:
        return self.values[max(self.values)] if self.values else None

    def passes(self, value: Any, line: str, where: str) -> bool:
        """Move the mark on to this record. Whether the record is new: not seen in this fetch, nor at the mark before.

        A value below the mark moves nothing: a clock of the source that was moved back takes no row away.
        """
        key = self._key(value, where)
        digest = digest_of(f"{value} {line}")
        if digest in self.places:
            return False
        self.places[digest] = key
        self.values.setdefault(key, value)
        if len(self.values) > 2:
            del self.values[min(self.values)]
        return True

    def _key(self, value: Any, where: str) -> Key:
        if value is None or value == "":
            raise Refused(f"{where} has no value, so nobody could tell where to go on after it: mend the source")
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            raise Refused(f"{where} is {reprlib.repr(value)}: a number, a time or a word is wanted")
        key = self.order(value)
        if isinstance(key[1], Decimal) and not key[1].is_finite():
            raise Refused(f"{where} is {value}, which has no place among numbers: mend the source")
        for other in self.values:
            if other[0] != key[0]:
                raise Refused(
                    f"{where} is {reprlib.repr(value)}, a {key[0]}, where others are a {other[0]} such as"
                    f" {self.values[other]!r}: they have no order"
                )
        time = _time(value)
        if time and time > datetime.now(UTC) + AHEAD:
            raise Refused(
                f"{where} is {value}, which is in the future: whatever comes before it would never be asked for."
                " Mend the record, or the clock of this machine"
            )
        return key

    def cursor(self) -> Cursor:
        """What to keep of it, in JSON."""
        at = []
        for key in sorted(self.values):
            digests = sorted(digest for digest, place in self.places.items() if place == key)
            at.append({"value": self.values[key], "seen": digests if len(digests) <= MAX_DIGESTS else []})
        return {"at": at}


def read_watermark(stored: Cursor, order: Callable[[Any], Key]) -> Watermark:
    """The watermark that a cursor holds. Raises Broken if the cursor is damaged."""
    watermark = Watermark(order)
    try:
        for step in stored.get("at", []):
            key = order(step["value"])
            watermark.values[key] = step["value"]
            watermark.places |= dict.fromkeys(step["seen"], key)
    except (KeyError, TypeError, ValueError, AttributeError, Refused):
        raise Broken(
            "its cursor is damaged: remove its entry from the cursors, and it is read from its start"
        ) from None
    return watermark


def order_of(value: Any) -> Key:
    """Numbers by size, also those written as words; times by time, whatever their zone; else letter by letter."""
    if isinstance(value, int | float | Decimal) or (isinstance(value, str) and NUMBER.fullmatch(value)):
        return "number", Decimal(str(value))
    if time := _time(value):
        return "time", time
    return "text", str(value)


def _time(value: Any) -> datetime | None:
    """The value as a moment, UTC if it names no zone; None if it is none."""
    try:
        time = datetime.fromisoformat(value if len(value) > 8 else "")
    except (ValueError, TypeError):
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def digest_of(words: str) -> str:
    return hashlib.sha256(words.encode()).hexdigest()[:32]


@dataclass
class JsonlWriter:
    """JSONL files in which no id stands twice with other content, for ingest refuses that as two answers.

    A stream tells of a record each time that it changes; the first words go into the first file, the next into the
    second, so that ingest takes them as corrections in their order.
    """

    folder: Path
    rows: int = 0
    latest: dict[str, tuple[int, str]] = field(default_factory=dict)  # id -> its last file and content
    pending: dict[int, list[str]] = field(default_factory=dict)  # lines to write, by file

    def add(self, name: Any, line: str, where: str) -> None:
        """Write the `line` of the row that is called `name`."""
        name = "" if name is None else str(name).strip()
        if not name:
            raise Refused(f"{where} is empty, so nobody could tell whether the row is there already")
        number, before = self.latest.get(name, (0, ""))
        digest = digest_of(line)
        if digest == before:
            return  # only its cursor moved
        self.latest[name] = (number + 1, digest)
        lines = self.pending.setdefault(number + 1, [])
        lines.append(f"{line}\n")
        self.rows += 1
        if len(lines) >= LINES:
            self._flush(number + 1)

    def _flush(self, number: int) -> None:
        with (self.folder / f".{number:05d}.jsonl.tmp").open("a", encoding="ascii") as file:
            file.writelines(self.pending.pop(number))

    def close(self) -> tuple[Path, ...]:
        """The files under their names, once everything is in them."""
        for number in list(self.pending):
            self._flush(number)
        return tuple(
            unfinished.rename(unfinished.with_name(unfinished.name[1:].removesuffix(".tmp")))
            for unfinished in sorted(self.folder.glob(".*.jsonl.tmp"))
        )
