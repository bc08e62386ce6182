"""Workbooks, as little as Excel opens."""

import zipfile

TYPES = "application/vnd.openxmlformats-officedocument.spreadsheetml"


def workbook(path, **sheets):
    """The path of a new workbook with these sheets of texts and numbers."""
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
            rows = "".join(row(number, cells) for number, cells in enumerate(sheets[name], 1))
            archive.writestr(
                f"xl/worksheets/s{n}.xml", f"{part}<worksheet {main}><sheetData>{rows}</sheetData></worksheet>"
            )
    return str(path)


def row(number, values):
    cells = "".join(cell(f"{'ABCDEFGH'[at]}{number}", value) for at, value in enumerate(values))
    return f'<row r="{number}">{cells}</row>'


def cell(place, value):
    if isinstance(value, int):
        return f'<c r="{place}"><v>{value}</v></c>'
    return f'<c r="{place}" t="inlineStr"><is><t>{value}</t></is></c>'
