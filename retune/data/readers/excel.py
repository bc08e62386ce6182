"""Workbooks of Excel and OpenDocument, by calamine. A sheet is read like a CSV file, with the numbers of its rows."""

import re
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

from retune.data.readers.compression import Content
from retune.data.readers.records import Reading, numbered, to_table
from retune.data.readers.size_limit import SizeLimit
from retune.data.readers.table import Table
from retune.errors import Refused, WrongUse

CELL = re.compile(rb'<(?:\w+:)?c\b[^>]*?\br="([A-Z]{1,3})(\d{1,7})"[^>]*(?<!/)>')  # that is not empty
CELL_BYTES = 32  # in memory
BLOCK = 1 << 22
SUFFIXES = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")


def read(content: Content, name: str, reading: Reading) -> Table:
    import python_calamine

    try:
        file = content.whole()
        _refuse_far_cells(file, SizeLimit.of(content.path))
        if not isinstance(file, Path):
            file.seek(0)
        workbook = python_calamine.load_workbook(file)
        sheet, notes = _sheet(workbook, name, reading)
        rows = sheet.to_python(skip_empty_area=False)
    except (python_calamine.CalamineError, OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise Refused(f"{name} is not a workbook that can be read: {error}. Save it again, as .xlsx or CSV") from None
    table = to_table(name, numbered(rows), reading, unit="row")
    return Table(
        table.name, table.names, table.places, table.column, "row", rejects=table.rejects, notes=[*notes, *table.notes]
    )


def _refuse_far_cells(file: Path | IO[bytes], limit: SizeLimit) -> None:
    """Raises Refused for a workbook that is too large to open.

    A sheet takes memory for each cell up to its last one, and calamine ends the process where that is more than there
    is. One forgotten cell at the far end of a sheet, as a slip of the hand leaves it, makes 17 billion cells.
    """
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        limit.check(sum(each.file_size for each in members))
        for member in members:
            if member.filename.startswith("xl/worksheets/") and member.filename.endswith(".xml"):
                with archive.open(member) as sheet:
                    column, row = _last_cell(sheet)
                _refuse_wide(member.filename, column, row, limit)


def _last_cell(sheet: IO[bytes]) -> tuple[str, int]:
    """The last column and the last row of the cells that hold something."""
    columns, row, rest = {b"A"}, 1, b""
    while block := sheet.read(BLOCK):
        text = rest + block
        end = text.rfind(b"<")
        text, rest = text[:end], text[end:]
        cells = CELL.findall(text)
        columns.update({column for column, _ in cells})
        row = max([row, *(int(number) for number in {number for _, number in cells})])
    last = max(columns, key=lambda column: (len(column), column))
    return last.decode(), row


def _refuse_wide(member: str, column: str, row: int, limit: SizeLimit) -> None:
    width = 0
    for letter in column:
        width = width * 26 + ord(letter) - ord("A") + 1
    if width * row * CELL_BYTES > limit.free:
        raise Refused(
            f"{limit.path} is too large for a workbook: {member} reaches to column {column} and row {row:,}, "
            f"{width * row:,} cells. Delete the cells that stand apart from the table, or save the table as CSV"
        )


def _sheet(workbook: Any, name: str, reading: Reading) -> tuple[Any, list[str]]:
    """The sheet of that name, or the only one that holds something."""
    names = workbook.sheet_names
    if reading.sheet is not None:
        if reading.sheet not in names:
            raise WrongUse(f"{name} has no sheet {reading.sheet!r}; it has {', '.join(map(repr, names))}")
        return workbook.get_sheet_by_name(reading.sheet), []
    sheets = [sheet for sheet in map(workbook.get_sheet_by_name, names) if sheet.height]
    if len(sheets) > 1:
        filled = ", ".join(repr(sheet.name) for sheet in sheets)
        raise WrongUse(f"{name} has {len(sheets)} sheets with content, {filled}: say which one with --sheet NAME")
    return (sheets or [workbook.get_sheet_by_index(0)])[0], []
