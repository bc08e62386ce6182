"""Parquet files. Text in them may be stored as bytes, and may be damaged in single rows."""

import io

import pyarrow as pa
import pyarrow.parquet as pq

from retune.data.readers.compression import SUFFIXES, Content, damage
from retune.data.readers.records import clean_name, unique_names
from retune.data.readers.table import Table
from retune.errors import Refused


def read(content: Content, name: str) -> Table:
    with damage(content.path), content.open() as packed:
        file = io.BytesIO(packed.read()) if content.path.suffix.lower() in SUFFIXES else content.path
    try:
        table = pq.ParquetFile(file).read()
        try:
            table.validate(full=True)
        except pa.ArrowInvalid:  # text that is not UTF-8: as bytes it is a fault of its row
            table = pa.table([_as_bytes(column) for column in table.columns], names=table.column_names)
            table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise Refused(f"{name} is not a valid Parquet file: {error}") from None
    notes: list[str] = []
    header = [clean_name(column) for column in table.column_names]
    names, places = unique_names(header, lambda place: table.column(place).to_pylist(), notes)
    rows = range(1, len(table) + 1)
    return Table(name, names, rows, lambda column: table.column(places[column]).to_pylist(), "row", notes=notes)


def _as_bytes(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_string(column.type):
        return column.cast(pa.binary())
    return column.cast(pa.large_binary()) if pa.types.is_large_string(column.type) else column
