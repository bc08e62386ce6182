"""Records of cells, as a CSV file or a sheet has them, become a table: where the header is, and what is no record."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

from retune.data.readers.table import Fault, Reject, Table
from retune.errors import Refused

HEADER_WITHIN = 20  # records; above the header stand titles
SAMPLE = 200  # records by whose width the header is known
WIDTH = "wrong number of fields"  # a reason
STEP = 200_000  # records
MOSTLY = 0.95  # rejects in so many of the records, and what is read is no table


class NoTable(Refused):
    """Hardly a record fits the header. To keep each with its reason takes a multiple of the file's size."""


@dataclass(frozen=True)
class Record:
    place: int
    cells: Sequence[Any]
    fault: Fault | None = None
    raw: str = ""

    @property
    def is_filled(self) -> bool:
        return not self.fault and not all(map(is_blank, self.cells))


@dataclass(frozen=True)
class Reading:
    """What a person says of how a source is read, and how it tells its progress."""

    delimiter: str | None = None
    encoding: str | None = None
    header: bool = True
    sheet: str | None = None
    must_have: frozenset[str] = frozenset()  # columns by which the header is known
    say: Callable[[str], None] = field(default=lambda _: None, compare=False)


def clean_name(name: Any) -> str:
    """The name of a column without what nobody sees: zero-width and control characters, white space around it."""
    text = "" if name is None else str(name)
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    visible = "".join(each for each in text if each.isspace() or unicodedata.category(each) not in ("Cc", "Cf"))
    return " ".join(visible.encode("utf-8", "replace").decode().split())


def is_blank(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def to_table(name: str, records: Iterable[Record], reading: Reading, unit: str = "line", remedy: str = "") -> Table:
    """The table. A record that is empty, a title above the header and the header a second time are no rows."""
    records = iter(records)
    first = list(islice(records, SAMPLE))
    start = _header(first, reading.must_have) if reading.header else -1
    width = max(_usual_width(first), 1)
    header = [clean_name(cell) for cell in first[start].cells] if start >= 0 and first else [""] * width
    rows_after = [each for each in first[start + 1 :] if each.is_filled]
    header = _completed(header, rows_after)
    builder = _Builder(header, unit, remedy)
    titles = [each for each in first[:start] if each.is_filled] if start > 0 else []
    builder.rejects += [_reject(each, unit) for each in (first[:start] if start > 0 else []) if each.fault]
    for count, record in enumerate(chain(first[start + 1 :], records), 1):
        builder.add(record)
        if count % STEP == 0:
            builder.refuse_no_table(name, count)
            reading.say(f"read {count:,} records of {name}")
    return builder.table(name, [f"passed over {len(titles)} lines above the header"] if titles else [])


def _header(records: Sequence[Record], must_have: frozenset[str]) -> int:
    """The place of the header: the record with the names that it must have, or the first as wide as the others."""
    if not records:
        return 0
    for place, record in enumerate(records[:HEADER_WITHIN] if must_have else ()):
        if must_have <= {clean_name(cell) for cell in record.cells}:
            return place
    width = _usual_width(records)
    for place, record in enumerate(records[:HEADER_WITHIN]):
        filled = sum(not is_blank(cell) for cell in record.cells)
        following = next((each.cells for each in records[place + 1 :] if each.is_filled), ())
        is_title = filled < 2 <= width and sum(not is_blank(cell) for cell in following) > filled
        is_narrow = len(record.cells) < width and not _lacks_one(record.cells, following)
        if record.is_filled and not is_title and not is_narrow:
            return place
    return 0


def _usual_width(records: Sequence[Record]) -> int:
    widths = Counter(len(each.cells) for each in records if each.is_filled)
    return widths.most_common(1)[0][0] if widths else 0


def _lacks_one(header: Sequence[Any], following: Sequence[Any]) -> bool:
    """R leaves out the name of the row names, others end each row with a delimiter."""
    return len(following) == len(header) + 1 and (str(following[0]) == "1" or is_blank(following[-1]))


def _completed(header: list[str], rows: Sequence[Record]) -> list[str]:
    if not rows or any(len(row.cells) != len(header) + 1 for row in rows):
        return header
    if all(map(_ends_with_delimiter, rows)):
        return header
    return ["", *header] if str(rows[0].cells[0]) == "1" else header


def _ends_with_delimiter(row: Record) -> bool:
    """Whether a delimiter after the last cell makes one cell too many. A blank text in quotes is a cell."""
    return is_blank(row.cells[-1]) and not row.raw.rstrip("\r\n").endswith('"')


def _reject(record: Record, unit: str) -> Reject:
    assert record.fault
    return Reject(unit, record.place, record.fault, record.raw)


class _Builder:
    def __init__(self, header: list[str], unit: str, remedy: str) -> None:
        self.header, self._unit, self._remedy = header, unit, remedy
        self._key = next((place for place, name in enumerate(header) if name), None)
        self._needed = max((place + 1 for place, name in enumerate(header) if name), default=len(header))
        self.places: list[int] = []
        self.rows: list[Sequence[Any]] = []
        self.rejects: list[Reject] = []
        self.blank = self.headers = 0

    def add(self, record: Record) -> None:
        cells, width = record.cells, len(self.header)
        if record.fault:
            self.rejects.append(_reject(record, self._unit))
            return
        if all(map(is_blank, cells)):
            self.blank += bool(cells)
            return
        if len(cells) != width:
            if len(cells) < self._needed or not all(map(is_blank, cells[width:])):
                message = f"{len(cells)} fields, but the header has {width}{self._remedy}"
                self.rejects.append(Reject(self._unit, record.place, Fault(WIDTH, message), record.raw))
                return
            cells = [*cells[:width], *[""] * (width - len(cells))]
        if self._is_header(cells):
            self.headers += 1
            return
        self.places.append(record.place)
        self.rows.append(cells)

    def refuse_no_table(self, name: str, count: int) -> None:
        if len(self.rejects) > MOSTLY * count:
            raise NoTable(
                f"{name} is no table: {len(self.rejects):,} of its first {count:,} records cannot be read. The first "
                f"is {self.rejects[0]}. If another sign parts its columns, name it with --delimiter"
            )

    def _is_header(self, cells: Sequence[Any]) -> bool:
        if self._key is None or not str(cells[self._key]).strip().endswith(self.header[self._key]):
            return False
        return [*map(clean_name, cells)] == self.header

    def table(self, name: str, notes: list[str]) -> Table:
        if self.headers:
            notes.append(f"passed over the header, which stands again in {self.headers} places")
        if self.blank:
            notes.append(f"passed over {self.blank} empty rows")
        names, columns = unique_names(self.header, lambda place: [row[place] for row in self.rows], notes)
        rows = self.rows
        return Table(
            name,
            names,
            self.places,
            lambda column: [row[columns[column]] for row in rows],
            self._unit,
            rejects=self.rejects,
            notes=notes,
        )


def _number(name: str, place: int) -> str:
    return f"{name} (column {place + 1})" if name else f"column {place + 1}"


def unique_names(
    header: Sequence[str], column: Callable[[int], Sequence[Any]], notes: list[str]
) -> tuple[list[str], dict[str, int]]:
    """The names of the columns, each once, and the place of each.

    A column without a name is left out if it is empty, else called by its number. Of two with one name and the same
    cells one stays; with different cells both are called by their numbers too.
    """
    places_of: dict[str, list[int]] = {}
    for place, name in enumerate(header):
        places_of.setdefault(name, []).append(place)
    names: dict[str, int] = {}
    for name, places in places_of.items():
        if not name:
            names |= {_number(name, place): place for place in places if not all(map(is_blank, column(place)))}
        elif all(column(place) == column(places[0]) for place in places[1:]):
            names[name] = places[0]
        else:
            numbered_names = {_number(name, place): place for place in places}
            names |= numbered_names
            called = " and ".join(map(repr, numbered_names))
            notes.append(f"{len(places)} columns are called {name!r}, with different values: they are {called}")
    names = dict(sorted(names.items(), key=lambda pair: pair[1]))
    return list(names), names


def numbered(rows: Iterable[Sequence[Any]], first: int = 1) -> Iterator[Record]:
    return (Record(place, cells) for place, cells in enumerate(rows, first))
