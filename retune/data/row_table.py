"""The row: one example of text and label, how a table of them is read, and how it is written.

A table of rows is a pandas DataFrame with the columns of `COLUMNS`, all of them strings:

    id      the permanent name of the row
    text    what was said
    label   the right answer
    group   rows that must stay together (one customer); empty: none
    source  where the row came from
    given   the preassigned split: train, val, test, or empty

For tasks instruct and prefer, `text` is the prompt, as messages (`retune.data.messages`), and `label` the answer.
Task prefer has one more column:

    rejected  the worse answer

Rows that keep further columns of their source have them in one more column, `slices` (`retune.data.slices`).
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from retune.system import failpoints
from retune.system.files import replace_whole

COLUMNS = ("id", "text", "label", "group", "source", "given")
TEXT = pa.large_string()  # the dtype of a column of texts in pandas
GROUP = 1 << 20  # rows per row group of the Parquet file
SPLITS = ("train", "val", "test")
REJECTED, SLICES = "rejected", "slices"
OTHER = "__other__"  # the label of texts that belong to none: never learned, only asked in evaluation
JOINERS = "\u200c\u200d"  # join emoji, Persian and Hindi words; the only format characters that stay
LOOSE_JOINER = re.compile(f"(?<!\\S)[{JOINERS}]+|[{JOINERS}]+(?!\\S)")


def read(path: Path) -> pd.DataFrame:
    """Read one Parquet file, or every Parquet file of a folder in the order of their names."""
    files = _parts(path)
    if not files:
        return pd.DataFrame({name: pd.Series(dtype="str") for name in COLUMNS})
    frames: list[pd.DataFrame] = [pq.read_table(file).to_pandas() for file in files]
    return pd.concat(frames, ignore_index=True)


def names(path: Path) -> list[str]:
    """The columns, without reading the rows."""
    columns = [name for file in _parts(path) for name in pq.read_schema(file).names]
    return list(dict.fromkeys(columns or COLUMNS))


def clusters_of(ids: pd.Series, clusters: pd.DataFrame) -> pd.Series:
    """The cluster of near-copies of each row, as curate writes `clusters`: id, cluster; missing where it has none."""
    return ids.map(dict(zip(clusters["id"], clusters["cluster"], strict=True))).astype("str")


def count(path: Path) -> int:
    """The number of rows, without reading them."""
    return sum(pq.read_metadata(file).num_rows for file in _parts(path))


def batches(path: Path, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
    """The rows, at most `size` of a row group at a time, as texts; a null or a missing column is empty."""
    for file in _parts(path):
        with pq.ParquetFile(file) as part:
            present = [name for name in columns if name in part.schema_arrow.names]
            for group in range(part.num_row_groups):
                for batch in part.iter_batches(size, [group], present):
                    yield _as_texts(batch, columns)


def first_rows(path: Path) -> tuple[int, ...]:
    """Of each file the place of its first row among the rows of all, without reading the rows."""
    counts = [pq.read_metadata(file).num_rows for file in _parts(path)]
    return tuple(accumulate(counts, initial=0))[: len(counts)]


@dataclass(frozen=True)
class Slice:
    """Rows of one row group of a part."""

    file: str
    group: int
    first: int
    rows: int


def slices(path: Path, size: int) -> Iterator[tuple[int, Slice]]:
    """The cuts of `batches`, each with the number of its first row among all."""
    start = 0
    for file in _parts(path):
        metadata = pq.read_metadata(file)
        for group in range(metadata.num_row_groups):
            rows = metadata.row_group(group).num_rows
            for first in range(0, rows, size):
                yield start + first, Slice(file.name, group, first, min(size, rows - first))
            start += rows


def read_slice(path: Path, each: Slice, columns: Sequence[str]) -> pa.RecordBatch:
    """The rows of a slice, as `batches` gives them."""
    with pq.ParquetFile(path / each.file) as part:
        present = [name for name in columns if name in part.schema_arrow.names]
        group = part.read_row_group(each.group, columns=present).slice(each.first, each.rows)
    return _as_texts(group.combine_chunks().to_batches()[0], columns)


def _as_texts(batch: pa.RecordBatch, columns: Sequence[str]) -> pa.RecordBatch:
    blank = pa.repeat(pa.scalar("", TEXT), batch.num_rows)
    texts = {name: batch.column(name).cast(TEXT).fill_null("") for name in batch.schema.names}
    return pa.RecordBatch.from_pydict({name: texts.get(name, blank) for name in columns})


def _parts(path: Path) -> list[Path]:
    return sorted(path.glob("*.parquet")) if path.is_dir() else [path]


def write(rows: pd.DataFrame, path: Path) -> None:
    """Write `rows` whole or not at all; equal rows give equal bytes."""
    table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(None)
    with _replace(path) as unfinished:
        pq.write_table(table, unfinished, row_group_size=GROUP, compression="zstd")


@contextmanager
def writing(path: Path, columns: Sequence[str]) -> Iterator["Writer"]:
    """A writer of batches of texts. At the end of the block the file equals that of `write`."""
    schema = pa.schema([(name, TEXT) for name in columns])
    with _replace(path) as unfinished, pq.ParquetWriter(unfinished, schema, compression="zstd") as parquet:
        writer = Writer(parquet)
        yield writer
        writer.flush()


class Writer:
    """Writes row groups of `GROUP` rows, so that the bytes do not depend on the size of the batches."""

    def __init__(self, parquet: pq.ParquetWriter) -> None:
        self._parquet, self._written = parquet, False
        self._pending = parquet.schema.empty_table()

    def write(self, batch: pa.RecordBatch) -> None:
        """Add the rows of `batch`; columns that the file lacks are ignored."""
        rows = pa.Table.from_batches([batch]).select(self._parquet.schema.names)
        self._pending = pa.concat_tables([self._pending, rows])
        while len(self._pending) >= GROUP:
            self._write(self._pending.slice(0, GROUP))
            self._pending = self._pending.slice(GROUP)

    def flush(self) -> None:
        if len(self._pending) or not self._written:
            self._write(self._pending)

    def _write(self, rows: pa.Table) -> None:
        self._parquet.write_table(rows.combine_chunks(), row_group_size=GROUP)
        self._written = True


@contextmanager
def _replace(path: Path) -> Iterator[Path]:
    with replace_whole(path) as unfinished:
        yield unfinished
        failpoints.point("rows:unfinished")


def clean(text: str) -> str:
    """Unicode NFC, white space in single spaces, no control or format characters but joiners inside words."""
    if not text.isprintable():  # a fast path for most texts
        text = "".join(filter(_visible, text))
        text = " ".join(word.strip(JOINERS) for word in text.split())
    return " ".join(unicodedata.normalize("NFC", text).split())


def clean_lines(text: str) -> str:
    """The same for prompts and answers, whose line breaks, indents and inner spaces matter (code, lists).

    Strips white space at both ends of the text and at the end of each line.
    """
    lines = [LOOSE_JOINER.sub("", "".join(map(_on_a_line, filter(_visible, line)))) for line in text.splitlines()]
    return "\n".join(unicodedata.normalize("NFC", line).rstrip() for line in lines).strip()


def hidden(text: str) -> str:
    """The characters that `clean` takes out of a text, each once, as in `U+200B U+FEFF`."""
    if text.isprintable():
        return ""
    return " ".join(f"U+{ord(sign):04X}" for sign in sorted(set(text)) if not _visible(sign))


def _on_a_line(character: str) -> str:
    return " " if character.isspace() and character != "\t" and not character.isprintable() else character


def _visible(character: str) -> bool:
    return character.isspace() or character in JOINERS or unicodedata.category(character) not in ("Cc", "Cf")
