"""CSV in the ways in which programs write it. The delimiter and the way of quoting are found by content.

Python's own reader parses, since it is the one that knows the exact line of each row. What it does not know stands
here: which delimiter and quoting a file has, and how to go on after a row that it cannot read.
"""

import csv
import re
import reprlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from retune.data.readers import encoding
from retune.data.readers.compression import Content, damage
from retune.data.readers.records import WIDTH, NoTable, Reading, Record, clean_name, to_table
from retune.data.readers.table import Fault, Table
from retune.errors import WrongUse

DELIMITERS = ",;\t|"
WITHIN_NAMES = "_-.\"'"  # never taken for a delimiter unasked
NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
SAMPLE = 500  # lines
UNQUOTED = "\t|"  # delimiters of files that often quote nothing
LONGEST = 10_000  # lines of one row: more, and a quote was not closed
SEPARATOR = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
BACKSLASHED = re.compile(r'\\(["\\])')
INSIDE = re.compile(r'(?:[^"\\]|\\.|"")*', re.DOTALL)  # of a quoted field, up to the quote that closes it
QUOTES = "broken quotes"  # a reason
DOUBLED, BACKSLASH, NO_QUOTES = "doubled", "backslash", "none"  # how a quote is written inside a quoted field


def read(content: Content, name: str, reading: Reading) -> Table:
    csv.field_size_limit(2**31 - 1)  # a field may be long; the module's own limit is 128 KiB
    start = content.start
    codec = encoding.of(start, reading.encoding)
    encoding.refuse_wide_without_mark(start, codec, name)
    with damage(content.path), encoding.lines(content.open, codec, name) as lines:
        sample = list(islice(lines, SAMPLE))
    stated = SEPARATOR.fullmatch(sample[0].lstrip("\ufeff")) if sample else None
    usual = "\t" if content.suffix in (".tsv", ".tab") else ","
    delimiter = _delimiter(reading.delimiter) or (stated[1] if stated else sniff(sample, reading.must_have, usual))

    def attempt(quoting: str, say: bool = True) -> Table | NoTable:
        check = encoding.Check(codec)
        with damage(content.path), encoding.lines(content.open, codec, name) as lines:
            rows = records(lines, delimiter, quoting, check, skip=bool(stated))
            how = reading if say else replace(reading, say=lambda _: None)
            remedy = f": quote fields that contain {delimiter!r} or a line break"
            try:
                result: Table | NoTable = to_table(name, rows, how, remedy=remedy)
            except NoTable as error:
                result = error
        check.refuse_another_encoding(name, reading.encoding)
        return result

    best = attempt(DOUBLED)
    notes = [] if delimiter == usual else [f"separated by {NAMES.get(delimiter, repr(delimiter))}"]
    if codec not in ("utf-8", "utf-8-sig"):
        notes.append(f"read as {codec}")
    for quoting, note in _likely(sample, delimiter).items() if _may_be_quoted_otherwise(best) else ():
        other = attempt(quoting, say=False)
        if isinstance(other, Table) and (isinstance(best, NoTable) or len(other.rejects) < len(best.rejects)):
            best = replace(other, notes=[*other.notes, note])
    if isinstance(best, NoTable):
        raise best
    return replace(best, notes=[*notes, *best.notes])


def _may_be_quoted_otherwise(result: Table | NoTable) -> bool:
    return isinstance(result, NoTable) or any(reject.fault.reason in (QUOTES, WIDTH) for reject in result.rejects)


def _delimiter(stated: str | None) -> str | None:
    if stated is None:
        return None
    character = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "bar": "|", "pipe": "|"}.get(stated, stated)
    if len(character) != 1 or character in '"\r\n':
        raise WrongUse(f"--delimiter {stated!r} is not one character: write ';', '|' or tab")
    return character


def sniff(sample: Sequence[str], must_have: frozenset[str], usual: str) -> str:
    """The delimiter that parts these lines into records of one width, and shows the names that it must have."""

    def score(delimiter: str) -> tuple[bool, bool, float, bool, int]:
        rows = [row for row in csv.reader(sample, delimiter=delimiter) if any(map(str.strip, row))]
        if not rows:
            return (False, False, 0.0, delimiter == usual, 0)
        shows = bool(must_have) and any(must_have <= {clean_name(cell) for cell in row} for row in rows[:20])
        width, count = Counter(map(len, rows)).most_common(1)[0]
        return (shows, width > 1, count / len(rows) if width > 1 else 0.0, delimiter == usual, width)

    candidates: list[str] = [*DELIMITERS, *_unusual(sample, must_have)]
    return max(candidates, key=score)


def _unusual(sample: Sequence[str], must_have: frozenset[str]) -> list[str]:
    """Other signs that part a line into the names that it must have, such as a colon or the \\x01 of Hive."""
    if len(must_have) < 2:
        return []
    return sorted(
        sign
        for line in sample[:20]
        for sign in {*line} - {*DELIMITERS, *WITHIN_NAMES}
        if not sign.isalnum() and not sign.isspace() and must_have <= {clean_name(cell) for cell in line.split(sign)}
    )


def _likely(sample: Sequence[str], delimiter: str) -> dict[str, str]:
    """The other ways of quoting that these lines may have, in words."""
    fields = [field.strip() for line in sample for field in line.rstrip("\r\n").split(delimiter)]
    opened = [field for field in fields if field.startswith('"')]
    whole = sum(len(field) > 1 and field.endswith('"') for field in opened)
    ways = {}
    if any('\\"' in line for line in sample):
        ways[BACKSLASH] = "quotes are escaped by a backslash"
    if delimiter in UNQUOTED and whole <= len(opened) / 4:
        ways[NO_QUOTES] = "quotes are part of the text"
    return ways


class _Lines:
    """Lines for the reader of one row after the other; those of a broken row, but the first, are read again."""

    def __init__(self, lines: Iterable[str], check: encoding.Check, escapes: "_Escapes | None") -> None:
        self._lines, self._check, self._escapes = iter(lines), check, escapes
        self._again: deque[str] = deque()
        self._checked = 0  # lines that have been looked at
        self._faults: dict[int, Fault] = {}
        self.row: list[str] = []
        self.begins = 1

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self.row.append(line)
        number = self.begins + len(self.row) - 1
        if number > self._checked:
            self._checked = number
            if fault := self._check.fault(line, number):
                self._faults[number] = fault
        if len(self.row) > LONGEST:
            raise csv.Error(f"a quote is not closed within {LONGEST:,} lines")
        if line.startswith("\ufeff"):
            line = line[1:]
        return self._escapes.doubled(line) if self._escapes else line

    def fault(self) -> Fault | None:
        """That of a line of the row, such as a byte that is no text."""
        if not self._faults:
            return None
        numbers = range(self.begins, self.begins + len(self.row))
        return next((self._faults[number] for number in numbers if number in self._faults), None)

    def next_row(self, again: bool = False) -> None:
        count = 1 if again else len(self.row)
        self._again.extendleft(reversed(self.row[count:]))
        self.begins += count
        self.row = []
        if self._escapes:
            self._escapes.is_open = False


class _Escapes:
    """Turns quotes that a backslash escapes into doubled ones. Outside of quotes a backslash escapes nothing."""

    def __init__(self, delimiter: str) -> None:
        self._opening = re.compile(rf'(?:^|{re.escape(delimiter)})"')
        self.is_open = False  # whether a quoted field goes on in the next line

    def doubled(self, line: str) -> str:
        pieces, at = [], 0
        while at < len(line):
            if self.is_open:
                inside = INSIDE.match(line, at)
                assert inside  # also nothing matches
                pieces.append(BACKSLASHED.sub(lambda escape: '""' if escape[1] == '"' else "\\", inside[0]))
                end = inside.end() + 1  # the quote, or a backslash that ends the file
                pieces.append(line[inside.end() : end])
                self.is_open = end > len(line)
            else:
                opening = self._opening.search(line, at)
                end = opening.end() if opening else len(line)
                pieces.append(line[at:end])
                self.is_open = opening is not None
            at = end
        return "".join(pieces)


def records(
    lines: Iterable[str], delimiter: str, quoting: str, check: encoding.Check, skip: bool = False
) -> Iterator[Record]:
    """Each row with the line in which it begins. After a row with broken quotes the next line begins the next row."""
    source = _Lines(lines, check, _Escapes(delimiter) if quoting == BACKSLASH else None)
    if quoting == NO_QUOTES:
        reader = csv.reader(source, delimiter=delimiter, quoting=csv.QUOTE_NONE, quotechar=None)
    else:
        reader = csv.reader(source, delimiter=delimiter, strict=True)
    if skip and next(source, None) is not None:
        source.next_row()
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raw = source.row[0] if source.row else ""
            message = f"{error}, in {reprlib.repr(raw.rstrip())}: write a quote inside a quoted field twice"
            yield Record(source.begins, [], source.fault() or Fault(QUOTES, message), raw)
            source.next_row(again=True)
            continue
        fault = source.fault()
        if cells or fault:
            yield Record(source.begins, cells, fault, "".join(source.row))
        source.next_row()
