"""Workbooks."""

import zipfile

import pytest

from retune.data.readers.records import Reading
from retune.data.readers.source import read
from retune.errors import Refused, WrongUse
from tests.support.workbooks import workbook


def test_a_sheet_is_read_like_a_file_with_the_numbers_of_its_rows(tmp_path):
    rows = [["Tickets"], [], ["text", "label", ""], ["late", 7], ["", ""], ["wrong", 8]]
    table = read(workbook(tmp_path / "t.xlsx", Tickets=rows, Empty=[]))
    faults = {}
    assert (table.column("text"), table.words("label", faults), [*table.places]) == (
        ["late", "wrong"],
        ["7", "8"],
        [4, 6],
    )


def test_of_several_sheets_one_must_be_named(tmp_path):
    path = workbook(tmp_path / "t.xlsx", A=[["text"], ["a"]], B=[["text"], ["b"]])
    with pytest.raises(WrongUse, match="2 sheets with content, 'A', 'B': say which one with --sheet NAME"):
        read(path)
    assert read(path, Reading(sheet="B")).column("text") == ["b"]
    with pytest.raises(WrongUse, match="has no sheet 'C'; it has 'A', 'B'"):
        read(path, Reading(sheet="C"))


def test_a_damaged_workbook_is_refused(tmp_path):
    path = tmp_path / "t.xlsx"
    workbook(path, A=[["text"], ["a"]])
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(Refused, match="is not a workbook that can be read"):
        read(str(path))


def test_a_cell_far_from_the_others_is_named_before_memory_is_taken_for_all_between(tmp_path):
    path = tmp_path / "t.xlsx"
    workbook(path, A=[["text", "label"], ["a", "b"]])
    far = '<row r="1048576"><c r="XFC1048576" s="1"/><c s="1" r="XFD1048576"><v>1</v></c><c r="XFE1" s="1"/></row>'
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content.replace(b"</sheetData>", f"{far}</sheetData>".encode()))
    with pytest.raises(Refused, match=r"s1\.xml reaches to column XFD and row 1,048,576, [0-9,]{14} cells\. Delete"):
        read(str(path))
