"""What a file holds, by its first bytes: compressed, packed, a workbook, Parquet, or text. Names tell less."""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from retune.data.readers.size_limit import SizeLimit
from retune.errors import Refused

SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zip")
GZIP, BZIP2, XZ, ZSTD, ZIP = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"
PARQUET, OLD_EXCEL = b"PAR1", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
OTHERS = (  # beginnings of files that hold no records as they are, and what to do
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive: unpack it first"),
    (b"Rar!", "is a RAR archive: unpack it first"),
    (b"%PDF", "is a PDF: export the records as CSV"),
    (b"SQLite format 3", "is an SQLite database: name it as a source of kind sql, or export a table as CSV"),
    (b"version https://git-lfs", "is a pointer of Git LFS, not the file: run `git lfs pull`"),
    (b"<!DOCTYPE", "is a web page: export the records as CSV"),
    (b"<!doctype", "is a web page: export the records as CSV"),
    (b"<html", "is a web page, also if a spreadsheet opens it: save it as .xlsx or CSV"),
    (b"<?xml", "is XML: export the records as CSV or .xlsx"),
    (b"ARROW1", "is an Arrow or Feather file: save it as Parquet"),
    (b"Obj\x01", "is an Avro file: save it as Parquet"),
)
START = 4096
BUFFER = 1 << 18


@dataclass(frozen=True)
class Content:
    """A file without its compression. `open` reads it from its start."""

    path: Path
    member: str  # its name, or that of the one file in a zip

    def open(self) -> BinaryIO:
        return _plain(self.path)

    def whole(self) -> Path | io.BytesIO:
        """For readers that move about in a file: the file itself, or what it unpacks to."""
        with self.path.open("rb") as file:
            is_plain = _unpacking(self.path, file.read(8)) is None
        with damage(self.path), self.open() as packed:
            return self.path if is_plain else io.BytesIO(packed.read())

    @property
    def start(self) -> bytes:
        with damage(self.path), self.open() as file:
            return file.read(START)

    @property
    def suffix(self) -> str:
        return Path(_uncompressed(self.member)).suffix.lower()


def content(path: Path) -> Content:
    """Raises Refused for an archive of several files, and for what holds no records."""
    with path.open("rb") as file:
        start = file.read(START)
    member = path.name
    if start.startswith(ZIP) and not is_workbook(path):
        with damage(path):
            member = _only_member(path).filename
    inner = Content(path, member)
    start = inner.start
    if start.startswith((GZIP, BZIP2, XZ, ZSTD)):
        raise Refused(f"{path} is compressed twice: unpack it once, and ingest what it holds")
    if start[257:262] == b"ustar":
        raise Refused(f"{path} is a tar archive: unpack it first, and ingest the folder")
    for beginning, what in OTHERS:
        if start.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(beginning):
            raise Refused(f"{path} {what}")
    return inner


def _uncompressed(name: str) -> str:
    return name[: -len(Path(name).suffix)] if name.lower().endswith(SUFFIXES) else name


def inner_suffix(path: Path) -> str:
    """The suffix of a name without that of its compression: `.csv` of `a.csv.gz`."""
    return Path(_uncompressed(path.name)).suffix.lower()


def is_workbook(path: Path) -> bool:
    """Whether a zip file is a workbook of Excel or OpenDocument."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.startswith("xl/") or name == "content.xml" for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return path.suffix.lower() in (".xlsx", ".xlsb", ".xlsm", ".ods")


def _only_member(path: Path) -> zipfile.ZipInfo:
    with zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if not info.is_dir() and not _is_hidden(info.filename)]
    if len(members) != 1:
        names = ", ".join(info.filename for info in members[:5])
        raise Refused(f"{path} holds {len(members)} files ({names}): unpack it, and ingest each, or their folder")
    if members[0].flag_bits & 1:
        raise Refused(f"{path} is protected by a password: unpack it first")
    return members[0]


def _is_hidden(member: str) -> bool:
    return member.startswith("__MACOSX/") or Path(member).name.startswith(".")


def _plain(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        start = file.read(8)
    packed = _unpacking(path, start)
    limit = SizeLimit.of(path)
    if packed is None:
        limit.check(limit.packed, "it is")
        return path.open("rb")
    return cast(BinaryIO, io.BufferedReader(_Unpacked(packed, limit), BUFFER))


def _unpacking(path: Path, start: bytes) -> Any:
    """A stream of what a compressed file that starts so holds; None if it is not compressed."""
    if start.startswith(GZIP):
        return gzip.open(path)
    if start.startswith(BZIP2):
        return bz2.open(path)
    if start.startswith(XZ):
        return lzma.open(path)
    if start.startswith(ZSTD):
        return pa.input_stream(str(path), compression="zstd")
    if start.startswith(ZIP) and not is_workbook(path):
        return zipfile.ZipFile(path).open(_only_member(path))
    return None


class _Unpacked(io.RawIOBase):
    """What a compressed file holds. Raises Refused once that is more than the limit."""

    def __init__(self, stream: Any, limit: SizeLimit) -> None:
        self._stream, self._limit, self._count = stream, limit, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._stream.read(len(buffer))
        self._count += len(data)
        self._limit.check(self._count)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


@contextmanager
def damage(path: Path) -> Iterator[None]:
    """Raises Refused for a compressed file that is cut off or damaged."""
    try:
        yield
    except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, gzip.BadGzipFile, NotImplementedError) as error:
        raise Refused(f"{path} is compressed, and cut off or damaged: {error}. Copy it again") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise Refused(f"{path} is compressed, and cut off or damaged: {error}. Copy it again") from None
