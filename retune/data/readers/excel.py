"""Workbooks of Excel and OpenDocument, by calamine. A sheet is read like a CSV file, with the numbers of its rows."""

from typing import Any

from retune.data.readers.compression import Content
from retune.data.readers.records import Reading, numbered, to_table
from retune.data.readers.table import Table
from retune.errors import Refused, WrongUse

SUFFIXES = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")


def read(content: Content, name: str, reading: Reading) -> Table:
    import python_calamine

    try:
        workbook = python_calamine.load_workbook(str(content.path))
        sheet, notes = _sheet(workbook, name, reading)
        rows = sheet.to_python(skip_empty_area=False)
    except (python_calamine.CalamineError, OSError, ValueError) as error:
        raise Refused(f"{name} is not a workbook that can be read: {error}. Save it again, as .xlsx or CSV") from None
    table = to_table(name, numbered(rows), reading, unit="row")
    return Table(
        table.name, table.names, table.places, table.column, "row", rejects=table.rejects, notes=[*notes, *table.notes]
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
