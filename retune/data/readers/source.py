"""Read a source whole, and leave it unchanged: a file, a folder of files, or a dataset through `datasets` (hf:).

What a file holds is found by its content; its name decides only where the content leaves a choice.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from retune.data.readers import compression, delimited, encoding, excel, hub, json_text, parquet
from retune.data.readers.records import Reading
from retune.data.readers.table import Table
from retune.errors import Refused, WrongUse

JSON = (".jsonl", ".ndjson", ".json")
TEXTS = (".csv", ".tsv", ".tab", ".psv")
FORMATS = (*TEXTS, *JSON, ".parquet", *excel.SUFFIXES)  # each may be compressed
ALSO = (".txt", "")  # read if they are named, not if they lie in a folder


class NoRows(Refused):
    """A valid source without rows: an error when a person names it, normal in a folder of exports."""


def is_readable(path: Path) -> bool:
    """Whether a file of a folder is one of a format that is read, by its name."""
    return path.suffix.lower() == ".zip" or compression.inner_suffix(path) in FORMATS


def read(source: str, reading: Reading = Reading()) -> Table:  # noqa: B008
    """Read the source whole. Raises WrongUse if it is missing, Refused if it does not hold a table."""
    if source.startswith("hf:"):
        return _require_rows(hub.read(*source.removeprefix("hf:").partition(":")[::2]))
    path = Path(source)
    try:
        return _require_rows(_folder(path, reading) if path.is_dir() else _file(path, source, reading))
    except OSError as error:
        raise WrongUse(f"{source} cannot be read: {error.strerror or error}") from None


def _require_rows(table: Table) -> Table:
    if not table.places and not table.rejects:
        raise NoRows(f"{table.name} holds no rows: nothing to bring in")
    return table


def _file(path: Path, name: str, reading: Reading) -> Table:
    content = compression.content(path)
    start = content.start
    if start.startswith(compression.PARQUET) or content.suffix == ".parquet":
        return parquet.read(content, name)
    if start.startswith((compression.ZIP, compression.OLD_EXCEL)) or content.suffix in excel.SUFFIXES:
        return excel.read(content, name, reading)
    text = start.decode(encoding.of(start, reading.encoding), "replace")
    if json_text.is_json(content, text):
        return json_text.read(content, name, reading)
    if content.suffix not in (*TEXTS, *ALSO):
        suffixes = ", ".join((*FORMATS, *compression.SUFFIXES))
        raise WrongUse(f"{name}: not a readable format: {content.suffix!r}. Use {suffixes} or hf:DATASET[:SPLIT]")
    return delimited.read(content, name, reading)


def _folder(folder: Path, reading: Reading) -> Table:
    """The files of a folder, as Spark and others write a table in parts; `key=value` in a path is a column too."""
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and is_readable(path) and not _is_hidden(path, folder)
    ]
    if not files:
        raise WrongUse(f"{folder} holds no file that is read: {', '.join(FORMATS)}")
    tables = [(_file(path, str(path), reading), _keys(path, folder)) for path in files]
    return _joined(str(folder), [(table, keys) for table, keys in tables if table.places or table.rejects], len(files))


def _within(path: Path, folder: Path) -> Sequence[str]:
    return path.relative_to(folder).parts


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith((".", "_")) for part in _within(path, folder))


def _keys(path: Path, folder: Path) -> dict[str, str]:
    pairs = (part.partition("=") for part in _within(path, folder)[:-1])
    return {key: unquote(value) for key, equals, value in pairs if equals}


def _joined(name: str, tables: Sequence[tuple[Table, dict[str, str]]], files: int) -> Table:
    """One table of several. A row's place counts from the first file on."""
    names = dict.fromkeys(column for table, keys in tables for column in (*table.names, *keys))
    starts, rejects, count = [], [], 0
    for table, _ in tables:
        starts.append(count)
        rejects += [
            replace(each, unit="row", place=count + each.place, fault=replace(each.fault, message=_at(table, each)))
            for each in table.rejects
        ]
        last = max((*table.places, *(each.place for each in table.rejects)), default=0)
        count += last
    places = [start + place for start, (table, _) in zip(starts, tables, strict=True) for place in table.places]

    def column(title: str) -> list[Any]:
        values: list[Any] = []
        for table, keys in tables:
            if title in table.names:
                values += table.column(title)
            else:
                values += [keys.get(title)] * len(table.places)
        return values

    notes = dict.fromkeys(note for table, _ in tables for note in table.notes)
    return Table(name, [*names], places, column, "row", rejects=rejects, notes=[f"read {files} files", *notes])


def _at(table: Table, reject: Any) -> str:
    return f"{Path(table.name).name}, {reject.unit} {reject.place}: {reject.fault.message}"
