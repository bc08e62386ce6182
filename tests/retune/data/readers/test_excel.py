"""Workbooks."""

import zipfile

import pytest

from retune.data.readers.records import Reading
from retune.data.readers.source import read
from retune.errors import Refused, WrongUse

TYPES = "application/vnd.openxmlformats-officedocument.spreadsheetml"


def workbook(path, **sheets):
    """A workbook with these sheets of texts and numbers, as little as Excel opens."""
    part = '<?xml version="1.0" encoding="UTF-8"?>'
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    names = list(enumerate(sheets, 1))
    with zipfile.ZipFile(path, "w") as archive:
        types = "".join(
            f'<Override PartName="/xl/worksheets/s{n}.xml" ContentType="{TYPES}.worksheet+xml"/>' for n, _ in names
        )
        book = f'<Override PartName="/xl/workbook.xml" ContentType="{TYPES}.sheet.main+xml"/>'
        default = '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        archive.writestr(
            "[Content_Types].xml", f'{part}<Types xmlns="{package}/content-types">{default}{book}{types}</Types>'
        )
        link = f'<Relationship Id="r1" Type="{relations}/officeDocument" Target="xl/workbook.xml"/>'
        archive.writestr("_rels/.rels", f'{part}<Relationships xmlns="{package}/relationships">{link}</Relationships>')
        listed = "".join(f'<sheet name="{name}" sheetId="{n}" r:id="r{n}"/>' for n, name in names)
        archive.writestr(
            "xl/workbook.xml", f'{part}<workbook {main} xmlns:r="{relations}"><sheets>{listed}</sheets></workbook>'
        )
        links = "".join(
            f'<Relationship Id="r{n}" Type="{relations}/worksheet" Target="worksheets/s{n}.xml"/>' for n, _ in names
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            f'{part}<Relationships xmlns="{package}/relationships">{links}</Relationships>',
        )
        for n, name in names:
            rows = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in sheets[name])
            archive.writestr(
                f"xl/worksheets/s{n}.xml", f"{part}<worksheet {main}><sheetData>{rows}</sheetData></worksheet>"
            )
    return str(path)


def cell(value):
    return f"<c><v>{value}</v></c>" if isinstance(value, int) else f'<c t="inlineStr"><is><t>{value}</t></is></c>'


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
