"""The files of reviews, as people's spreadsheets and our pages write them."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from retune.data.readers.records import Reading
from retune.data.readers.source import read
from retune.data.readers.table import Faults
from retune.data.rejects import refuse_too_many
from retune.errors import Refused, WrongUse

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # the beginnings of a cell that a spreadsheet would run


def as_csv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """For a spreadsheet: with a byte order mark, and with formulas escaped."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([f"'{text}" if text.startswith(FORMULA) else text for text in row])
    return table.getvalue().encode("utf-8-sig")


def unescaped(text: str) -> str:
    """A cell as it was before `as_csv`."""
    return text[1:] if text.startswith("'") and text[1:].startswith(FORMULA) else text


def lines(path: Path, needed: frozenset[str], command: str) -> list[tuple[str, dict[str, str]]]:
    """The place and the cells of each line, in whatever format a spreadsheet has saved the sheet of `command`."""
    try:
        table = read(str(path), Reading(must_have=needed))
    except Refused as error:
        if "--encoding" in str(error):
            raise Refused(f"{path} is not UTF-8: save the sheet as CSV UTF-8, or as a workbook") from None
        raise
    if missing := needed - set(table.names):
        raise WrongUse(f"{path} lacks the column {', '.join(sorted(missing))}. Import a sheet of `{command}`")
    faults: Faults = {}
    cells = {name: table.words(name, faults) for name in table.names}
    refuse_too_many(str(path), table.all_rejects(faults), len(table.places) + len(table.rejects), 0.0)
    return [
        (table.place(row), {"reviewer": "", **{name: values[row] for name, values in cells.items()}})
        for row in range(len(table.places))
    ]
