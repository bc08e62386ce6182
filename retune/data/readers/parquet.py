"""Parquet files. Text in them may be stored as bytes, and may be damaged in single rows."""

import pyarrow as pa
import pyarrow.parquet as pq

from retune.data.readers.compression import Content
from retune.data.readers.records import clean_name, unique_names
from retune.data.readers.size_limit import SizeLimit
from retune.data.readers.table import Table
from retune.errors import Refused

BATCH = 256  # rows
ROW = 8  # bytes that a row needs at least


def read(content: Content, name: str) -> Table:
    try:
        table = _table(pq.ParquetFile(content.whole()), SizeLimit.of(content.path))
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


def _table(file: pq.ParquetFile, limit: SizeLimit) -> pa.Table:
    """A few pages of a file may repeat one value for millions of rows, so rows are counted as they come."""
    limit.check(file.metadata.num_rows * ROW, "its rows fill")
    batches, size = [], 0
    for packed in file.iter_batches(BATCH):
        columns = [each.dictionary_decode() if pa.types.is_dictionary(each.type) else each for each in packed.columns]
        batch = pa.RecordBatch.from_arrays(columns, names=packed.schema.names)
        size += batch.nbytes
        limit.check(size)
        batches.append(batch)
    return pa.Table.from_batches(batches) if batches else file.schema_arrow.empty_table()


def _as_bytes(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_string(column.type):
        return column.cast(pa.binary())
    return column.cast(pa.large_binary()) if pa.types.is_large_string(column.type) else column
