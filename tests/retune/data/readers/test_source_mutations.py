"""Files that were damaged at random: they are read or refused in words, and never end in a traceback."""

import csv
import gzip
import io
import json
import random
import zipfile
from html import escape
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retune.data.readers.records import Reading
from retune.data.readers.source import read
from retune.errors import RetuneError
from tests.support.workbooks import workbook

ROWS = [(f'ticket {n} "is" late; über\n' if n % 5 == 0 else f"plain text {n}", f"label {n % 3}") for n in range(30)]
RECORDS = [{"text": text, "label": label} for text, label in ROWS]
INSERTS = [b'"', b",", b"\n", b"\0", b"\xff", b"\\", b"{", b"]", b"\xef\xbb\xbf", b"\r", b";", b"\t", b"\\ud83d"]


def as_csv():
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerows([("text", "label"), *ROWS])
    return buffer.getvalue()


def as_parquet():
    buffer = io.BytesIO()
    pq.write_table(pa.table({name: [record[name] for record in RECORDS] for name in RECORDS[0]}), buffer)
    return buffer.getvalue()


def as_zip():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", as_csv())
    return buffer.getvalue()


def as_workbook(folder):
    rows = [[escape(cell) for cell in row] for row in ROWS]
    return Path(workbook(folder / "whole.xlsx", Tickets=[["text", "label"], *rows])).read_bytes()


LINES = "\n".join(map(json.dumps, RECORDS)).encode()
COLUMNS = {name: [record[name] for record in RECORDS] for name in RECORDS[0]}
FORMATS = {
    "a.csv": as_csv().encode(),
    "utf16.csv": as_csv().encode("utf-16"),
    "a.tsv": as_csv().replace(",", "\t").encode(),
    "a.jsonl": LINES,
    "a.json": json.dumps(RECORDS).encode(),
    "laid-out.json": json.dumps(RECORDS, indent=2).encode(),
    "within.json": json.dumps({"count": len(RECORDS), "results": RECORDS}).encode(),
    "columns.json": json.dumps(COLUMNS).encode(),
    "pandas.json": json.dumps({name: dict(enumerate(column)) for name, column in COLUMNS.items()}).encode(),
    "split.json": json.dumps({"columns": ["text", "label"], "data": ROWS}).encode(),
    "a.parquet": as_parquet(),
    "a.csv.gz": gzip.compress(as_csv().encode()),
    "a.jsonl.zst": pa.compress(LINES, codec="zstd", asbytes=True),
    "a.zip": as_zip(),
    "a.parquet.gz": gzip.compress(as_parquet()),
}
PACKED = {  # damaged before they are packed
    "inside.csv.gz": (FORMATS["a.csv"], gzip.compress),
    "inside.jsonl.zst": (LINES, lambda content: pa.compress(content, codec="zstd", asbytes=True)),
}


NAMES = [*FORMATS, *PACKED, "a.xlsx", "inside.xlsx"]


def mutated(content, chance):
    damaged = bytearray(content)
    for _ in range(chance.randint(1, 6)):
        kind, at = chance.random(), chance.randrange(len(damaged) + 1)
        if kind < 0.3:
            damaged[at : at + 1] = bytes([chance.randrange(256)])
        elif kind < 0.6:
            damaged[at:at] = chance.choice(INSERTS)
        elif kind < 0.75:
            del damaged[at : at + chance.randint(1, 40)]
        elif kind < 0.85:
            damaged = damaged[:at]
        else:
            other = chance.randrange(len(damaged) + 1)
            damaged[at:at] = damaged[other : other + chance.randint(1, 60)]
    return bytes(damaged)


def mutated_workbook(content, chance):
    """One with a damaged part, which no checksum gives away."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as whole, zipfile.ZipFile(buffer, "w") as damaged:
        part = chance.choice([*whole.namelist(), *(["xl/worksheets/s1.xml"] * 10)])
        for name in whole.namelist():
            damaged.writestr(name, mutated(whole.read(name), chance) if name == part else whole.read(name))
    return buffer.getvalue()


def damaged_files(name, folder):
    chance = random.Random(f"{name} 17")
    if name.endswith(".xlsx"):
        content, damage = as_workbook(folder), mutated_workbook if name.startswith("inside") else mutated
        while True:
            yield damage(content, chance)
    content, pack = PACKED.get(name, (FORMATS.get(name), bytes))
    while True:
        yield pack(mutated(content, chance))


def try_files(folder, name, count):
    path = folder / name
    for content in islice(damaged_files(name, folder), count):
        path.write_bytes(content)
        try:
            table = read(str(path), Reading(must_have=frozenset(["text", "label"])))
        except RetuneError:
            continue
        faults = {}
        for column in table.names:
            table.words(column, faults)
        assert len(table.all_rejects(faults)) == len(table.rejects) + len(faults)


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_read_or_refused(tmp_path, name):
    try_files(tmp_path, name, 10)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_500_damaged_files_are_read_or_refused(tmp_path, name):
    try_files(tmp_path, name, 500)
