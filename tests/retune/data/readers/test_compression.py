"""Files that are compressed or packed, and files that hold no records."""

import bz2
import gzip
import lzma
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retune.data.readers.source import read
from retune.errors import Refused
from tests.support.workbooks import workbook

TEXT = b"text,label\nparcel late,shipping\n"
PACKED = {
    "a.csv.gz": gzip.compress(TEXT),
    "a.csv.bz2": bz2.compress(TEXT),
    "a.csv.xz": lzma.compress(TEXT),
    "a.csv.zst": pa.compress(TEXT, codec="zstd", asbytes=True),
    "a.csv": gzip.compress(TEXT),
    "a.jsonl.gz": gzip.compress(b'{"text": "parcel late", "label": "shipping"}\n'),
}


@pytest.mark.parametrize("name", PACKED)
def test_a_compressed_file_is_read_and_one_that_is_cut_off_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(PACKED[name])
    assert read(str(path)).column("text") == ["parcel late"]
    path.write_bytes(PACKED[name][:-6])
    with pytest.raises(Refused, match=f"{name} is compressed, and cut off or damaged"):
        read(str(path))


@pytest.mark.parametrize("name", ["t.xlsx", "t.parquet"])
def test_a_workbook_or_a_parquet_file_is_read_from_within(tmp_path, name):
    if name == "t.xlsx":
        workbook(tmp_path / name, A=[["text", "label"], ["parcel late", "shipping"]])
    else:
        pq.write_table(pa.table({"text": ["parcel late"], "label": ["shipping"]}), tmp_path / name)
    content = (tmp_path / name).read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, content)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    (tmp_path / "a.csv").write_bytes(gzip.compress(content))
    for packed in ("a.zip", f"{name}.gz", "a.csv"):
        assert read(str(tmp_path / packed)).column("text") == ["parcel late"]


def test_a_file_that_is_compressed_twice_is_named(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(gzip.compress(TEXT)))
    with pytest.raises(Refused, match="is compressed twice: unpack it once"):
        read(str(tmp_path / "a.csv.gz"))


def test_a_zip_of_one_file_is_read_and_of_several_named(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tickets.csv", TEXT)
        archive.writestr("__MACOSX/._tickets.csv", b"x")
    assert read(str(path)).column("label") == ["shipping"]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.csv", TEXT)
    with pytest.raises(Refused, match=r"2 files \(tickets.csv, more.csv\): unpack it"):
        read(str(path))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"%PDF-1.7", "is a PDF"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (b"<html><table>", "is a web page"),
        (b"SQLite format 3\0", "is an SQLite database"),
    ],
)
def test_what_holds_no_records_is_named(tmp_path, content, what):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(Refused, match=what):
        read(str(tmp_path / "a.csv"))
