"""Files that unpack to more than there is room for."""

import gzip
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retune.data.readers import size_limit
from retune.data.readers.size_limit import SizeLimit
from retune.data.readers.source import read
from retune.errors import Refused
from retune.system import free_memory
from tests.support.workbooks import workbook

ROWS = b"text,label\n" + b"parcel late,shipping\n" * 40_000


def as_zip(path, content=ROWS):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", content)


def as_parquet(path):
    words = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["parcel " * 9]))
    pq.write_table(pa.table({"text": words, "label": words}), path)


def as_workbook(path):
    with zipfile.ZipFile(workbook(path, A=[["text"], ["a"]]), "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/media/image.bin", ROWS)


WAYS = {
    "a.csv.gz": lambda path: path.write_bytes(gzip.compress(ROWS)),
    "a.csv.zst": lambda path: path.write_bytes(pa.compress(ROWS, codec="zstd", asbytes=True)),
    "a.zip": as_zip,
    "a.parquet": as_parquet,
    "a.xlsx": as_workbook,
}


@pytest.mark.parametrize("name", WAYS)
def test_a_file_that_unpacks_to_many_times_its_size_is_refused_when_that_is_much(tmp_path, monkeypatch, name):
    path = tmp_path / name
    WAYS[name](path)
    assert len(read(str(path)).places)
    monkeypatch.setattr(size_limit, "HARMLESS", 200_000)
    monkeypatch.setattr(size_limit, "MOST_TIMES", 20)
    with pytest.raises(Refused, match=rf"{name} is no table: it unpacks to more than 20 times its [\d,]+ bytes"):
        read(str(path))


@pytest.mark.parametrize("name", ["a.csv", *WAYS])
def test_a_file_that_does_not_fit_into_memory_is_refused(tmp_path, monkeypatch, name):
    path = tmp_path / name
    WAYS.get(name, lambda path: path.write_bytes(ROWS))(path)
    monkeypatch.setattr(size_limit, "HARMLESS", 0)
    monkeypatch.setattr(size_limit, "MOST_TIMES", 10**9)
    monkeypatch.setattr(free_memory, "of_machine", lambda: free_memory.AvailableMemory(300_000, "here"))
    with pytest.raises(Refused, match=rf"{name} does not fit into memory: .* are free. Ingest it in parts"):
        read(str(path))


def test_a_small_file_is_never_too_large(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"x")
    SizeLimit(path, 1, 0).check(size_limit.HARMLESS)
    with pytest.raises(Refused):
        SizeLimit(path, 1, 0).check(size_limit.HARMLESS + 1)
