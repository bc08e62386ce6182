"""Read a source whole: CSV, TSV, JSONL, JSON, Parquet, or a dataset through `datasets` (hf:). Leaves it unchanged."""

import csv
import json
import os
import reprlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from retune.data.readers.table import HALF_PAIR, NumberText, Table
from retune.errors import Broken, Refused, WrongUse

SIDE_OF = {"train": "train", "val": "val", "validation": "val", "dev": "val", "test": "test"}


class NoRows(Refused):
    """A valid source without rows: an error when a person names it, normal in a folder of exports."""


def read(source: str) -> Table:
    """Read the source whole. Raises WrongUse if it is missing, Refused if it does not hold a table."""
    if source.startswith("hf:"):
        return _check(_hub(*source.removeprefix("hf:").partition(":")[::2]))
    path = Path(source)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise WrongUse(
            f"{source}: not a readable format: {path.suffix!r}. Use {', '.join(READERS)} or hf:DATASET[:SPLIT]"
        )
    try:
        with path.open("rb"):  # else a reader would report a missing file as a broken one
            return _check(reader(path))
    except OSError as error:
        raise WrongUse(f"{source} cannot be read: {error.strerror or error}") from None


def _check(table: Table) -> Table:
    if duplicates := [name for name, times in Counter(table.names).items() if times > 1]:
        raise Refused(f"{table.name}: two columns are called {duplicates[0]!r}: rename or remove one")
    if HALF_PAIR.search("".join(table.names)):
        raise Refused(f"{table.name}: a column's name holds half a surrogate pair: correct the export")
    if not table.places:
        raise NoRows(f"{table.name} holds no rows: nothing to bring in")
    return table


@contextmanager
def _utf8(path: Path) -> Iterator[TextIO]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file
    except UnicodeDecodeError:
        raise Refused(_first_wrong_byte(path)) from None


def _first_wrong_byte(path: Path) -> str:
    # Reads again from the start: the error of a text file counts from its buffer.
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                offset += len(line.decode() and line)
            except UnicodeDecodeError as error:
                at = f"line {number}, byte {offset + error.start} of the file (0x{line[error.start]:02x})"
                break
    return f"{path} is not UTF-8: {at}. Convert it: iconv -f WINDOWS-1252 -t UTF-8 '{path}' > 'new-{path.name}'"


def _csv(path: Path, delimiter: str = ",") -> Table:
    csv.field_size_limit(2**31 - 1)  # a field may be long; the module's own limit is 128 KiB
    places, rows, begins = [], [], 1
    with _utf8(path) as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = [name.strip() for name in next(filter(None, reader), [])]
            begins = reader.line_num + 1
            for row in reader:
                if row and len(row) != len(header):
                    message = f"{path}, line {begins}: {len(row)} fields, but the header has {len(header)}"
                    raise Refused(f"{message}: quote fields that contain {delimiter!r} or a line break")
                if row:
                    places.append(begins)
                    rows.append(row)
                begins = reader.line_num + 1
        except csv.Error as error:
            message = f"{path}, the row that begins at line {begins}: {error}"
            raise Refused(f"{message}; write a quote inside a quoted field twice") from None
    index_of = {name: index for index, name in enumerate(header)}
    return Table(str(path), header, places, lambda name: [row[index_of[name]] for row in rows])


def _json_lines(path: Path) -> Table:
    with _utf8(path) as file:
        lines = [(number, line) for number, line in enumerate(file, 1) if line.strip()]
    places = [number for number, _ in lines]
    return _records(path, places, [_parse_json(line.rstrip("\r\n"), path, number) for number, line in lines], "line")


def _json(path: Path) -> Table:
    with _utf8(path) as file:
        value = _parse_json(file.read(), path)
    records = value.get("data") if isinstance(value, dict) else value
    if not isinstance(records, list):
        raise Refused(f'{path} is neither a list of objects nor {{"data": [...]}}')
    return _records(path, range(1, len(records) + 1), records, "row")


def _parse_json(text: str, path: Path, line: int = 1) -> Any:
    # NaN counts as null.
    try:
        return json.loads(text, parse_int=NumberText, parse_float=NumberText, parse_constant=lambda _: None)
    except json.JSONDecodeError as error:
        at = f"line {line + error.lineno - 1}, column {error.colno}"
        raise Refused(f"{path}, {at}: {error.msg}: {reprlib.repr(text.strip())}") from None
    except RecursionError:
        raise Refused(f"{path}, line {line}: objects are nested too deeply") from None


def _records(path: Path, places: Sequence[int], records: list[Any], unit: str) -> Table:
    for place, record in zip(places, records, strict=True):
        if not isinstance(record, dict):
            raise Refused(f"{path}, {unit} {place}: {reprlib.repr(record)} is not an object with columns")
    names = list(dict.fromkeys(name for record in records for name in record))
    return Table(str(path), names, places, lambda name: [record.get(name) for record in records], unit)


def _parquet(path: Path) -> Table:
    try:
        table = pq.ParquetFile(path).read()
        table.validate(full=True)  # else text that is not UTF-8 fails later
    except (pa.ArrowException, OSError) as error:
        raise Refused(f"{path} is not a valid Parquet file: {error}") from None
    places = range(1, len(table) + 1)
    return Table(str(path), table.column_names, places, lambda name: table.column(name).to_pylist(), "row")


READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": _csv,
    ".tsv": lambda path: _csv(path, delimiter="\t"),
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".parquet": _parquet,
}


def _hub(dataset: str, split: str) -> Table:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import datasets

    if not dataset.strip("/"):
        raise WrongUse(f"hf:{dataset} does not name a dataset: use hf:DATASET[:SPLIT] or hf:FOLDER")
    try:
        dataset_or_splits = datasets.load_dataset(dataset, split=split or None)
    except (FileNotFoundError, ValueError, RuntimeError) as error:
        raise WrongUse(f"hf:{dataset}: {error}") from None
    except (OSError, datasets.exceptions.DatasetsError) as error:
        raise Broken(f"hf:{dataset} could not be fetched: {error}. Try again, or give a local folder") from None
    parts = {split: dataset_or_splits} if split else dict(dataset_or_splits)
    if len(parts) > 1 and (other := [side for side in parts if side not in SIDE_OF]):
        raise WrongUse(
            f"hf:{dataset} has a split {other[0]!r}, which is not train, val or test: choose one of {', '.join(parts)}"
            f" with hf:{dataset}:SPLIT"
        )
    sides = [SIDE_OF[side] for side, part in parts.items() for _ in range(len(part))] if len(parts) > 1 else []
    names = next(iter(parts.values())).column_names
    places = range(1, sum(map(len, parts.values())) + 1)
    return Table(
        f"hf:{dataset}",
        names,
        places,
        lambda name: [value for part in parts.values() for value in _hub_column(part, name)],
        "row",
        sides,
    )


def _hub_column(part: Any, name: str) -> list[Any]:
    values = part.select_columns([name]).with_format("arrow")[:].column(name).to_pylist()
    labels = getattr(part.features[name], "names", None)  # a ClassLabel: numbers that have names; -1 has none
    return [labels[value] if value is not None and value >= 0 else None for value in values] if labels else values
