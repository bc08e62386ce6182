"""Bring new records of the configured sources into a folder, each source with the cursor to keep afterwards.

    for batch in fetch(params.load().fetch, cursors.read(), into, say):
        ...                      # ingest batch.files in their order, then commit rows and batch.cursor together

Nothing is ingested here and no cursor is stored: the caller commits both at once. A caller that dies before that
fetches the same rows again, and ingest knows a row that is there already: so each row comes in exactly once, wherever a
crash falls. A source that fails is reported and stays where it was; the others go on.

Ids are one name space: two sources that give the same id mean the same row, and the later one corrects it.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import assert_never

from retune.config.sources import Columns, DatabaseSource, EndpointSource, Fetch, FileSource, NamedColumns, Source
from retune.data.intake_branch import Cursor, Cursors
from retune.data.readers.records import Reading
from retune.data.source_facts import facts
from retune.errors import Broken, RetuneError
from tasks.fetch import files, http, sql
from tasks.fetch.connector import FetchResult

Say = Callable[[str], None]


@dataclass(frozen=True)
class Batch:
    """What a source brought. `columns` has the fields of ingest's Columns: `Columns(**vars(batch.columns))`."""

    source: str
    kind: str
    files: tuple[Path, ...]  # to ingest in this order, so that later words of an id win; none: nothing is new
    rows: int  # in these files
    cursor: Cursor  # to keep under the source's name once the files are ingested; as it was if the source failed
    columns: Columns | NamedColumns
    licence: str | None
    collected: str | None
    reading: Reading = Reading()  # noqa: RUF009
    waiting: tuple[str, ...] = ()  # files that are still being written
    error: RetuneError | None = None  # why the source brought nothing
    refused: tuple[
        str, ...
    ] = ()  # why some of its files were not taken: each comes with the next fetch, once it is mended
    places: tuple[str, ...] = ()  # where each of `files` comes from, by the name that the cursor gives it; or none


def fetch(fetch_config: Fetch, cursors: Cursors, into: Path, say: Say) -> list[Batch]:
    """One batch for each source. The files lie in `into`/<source>, a folder that is made anew."""
    return [
        _batch(source, fetch_config, cursors.get(source.name, {}), into / source.name, say)
        for source in fetch_config.sources
    ]


def _batch(source: Source, fetch_config: Fetch, cursor: Cursor, into: Path, say: Say) -> Batch:
    def report(message: str) -> None:
        say(f"{source.name}: {message}")

    definition = _definition(source)
    if cursor and cursor.get("definition") != definition:
        report("it is defined in another way than when it was fetched last: reading it from its start")
    start = cursor if cursor.get("definition") == definition else {}
    result, error = FetchResult((), 0, cursor), None
    try:
        facts(source.licence, source.collected)  # ingest would refuse these only after everything was fetched
        _make_anew(into)
        result = _take(source, fetch_config, start, into, report)
        next_cursor = {"definition": definition, **result.cursor}
    except RetuneError as problem:
        error, next_cursor = problem, cursor
    except OSError as problem:
        error, next_cursor = Broken(f"{into} could not be written: {problem}"), cursor
    if error:
        shutil.rmtree(into, ignore_errors=True)
        report(f"FAILED, nothing of it was taken: {error}")
    for why in () if error else result.refused:
        report(f"FAILED, the other files were taken: {why}")
    return Batch(
        source=source.name,
        kind=source.kind,
        files=result.files,
        rows=result.rows,
        cursor=next_cursor,
        columns=source.columns,
        licence=source.licence,
        collected=source.collected,
        reading=files.reading(source) if isinstance(source, FileSource) else Reading(),
        waiting=result.waiting,
        error=error,
        refused=() if error else result.refused,
        places=result.places,
    )


def _take(source: Source, fetch_config: Fetch, cursor: Cursor, into: Path, say: Say) -> FetchResult:
    match source:
        case FileSource():
            return files.take(source, fetch_config, cursor, into, say)
        case EndpointSource():
            return http.take(source, fetch_config, cursor, into, say)
        case DatabaseSource():
            return sql.take(source, fetch_config, cursor, into, say)
        case _:
            assert_never(source)


def _definition(source: Source) -> str:
    """Changes with anything that params say of the source: other columns make other rows of the same records.

    What later releases added counts only where it says something, else an upgrade would read each source anew.
    """
    definition = asdict(source)
    definition["columns"] = {k: v for k, v in definition["columns"].items() if v or k not in ("rejected", "keep")}
    if definition.get("reading") == asdict(files.BY_CONTENT):
        del definition["reading"]
    return hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()[:16]


def _make_anew(folder: Path) -> None:
    if folder.exists():  # of a fetch that was killed
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
