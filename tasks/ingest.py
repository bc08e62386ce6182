"""Bring records in: read a source whole, see what is new, append it to data/raw as one more Parquet part.

    retune ingest tickets.csv --text body --label queue

No text is changed here: that is curate's work. A row that cannot be read is set aside with its place and reason
(`retune.data.rejects`); too many of them, and nothing comes in. Everything is parsed before anything is written, parts
are only ever added, and on any error data/raw stays as it was. Ingesting a file again adds nothing; an id that comes
back with other words is appended as a correction, and curate lets the newest win.
Where a model is to write (task instruct or prefer), `retune.data.chat_formats` reads prompts and answers out of the
formats in which people keep them.
A licence and a collection window of the source, if they are stated, go into data/raw/sources.json.
Not covered: to take a correction back. The old words are in an earlier part, so they count as known.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa

from retune.config.params import Params
from retune.data import rejects, row_table, source_facts, task_data, unfinished_ingest
from retune.data.answer_counts import AnswerCounts
from retune.data.readers import compression
from retune.data.readers.records import Reading
from retune.data.readers.source import read
from retune.data.readers.table import Reject
from retune.data.row_mapping import Columns, complete_columns, content_columns, read_answers, rows_of, wanted_columns
from retune.data.values import first_spelling
from retune.errors import Broken, WrongUse
from retune.system import failpoints
from retune.system.files import write_bytes
from retune.system.locks import waiting

T = TypeVar("T")
LOCK = Path(".retune/ingest.lock")
PATIENCE = 600  # seconds to wait for another ingest


@dataclass(frozen=True)
class Origin:
    """Where the rows come from. What is stated anew replaces what was stated before; what is not stated stays."""

    name: str | None = None  # of the source; None: that of its file
    licence: str | None = None
    collected: str | None = None  # the window in which the rows were collected


@dataclass(frozen=True)
class IngestResult:
    """What became of the rows: received = added + corrected + known + repeated + rejected."""

    received: int
    added: int  # new ids
    corrected: int  # ids that were there with other content; appended too
    known: int  # there already, to the letter
    repeated: int  # one id with the same content, twice in this source; added once
    total: int  # rows in data/raw, the corrected ones included
    rejected: int  # could not be read
    part: Path | None  # None: nothing was new
    rejects_file: Path | None  # with the rejected rows; None: no new one
    reasons: tuple[rejects.ReasonCount, ...]  # of the rejected rows
    unused: tuple[str, ...]  # columns of the source that are not read
    format: str  # in which text and label were found
    counts: AnswerCounts | None  # where a model is to write
    notes: tuple[str, ...]  # what the reader decided by itself


@dataclass(frozen=True)
class Rules:
    """What params.yaml and the command say of how a source is read."""

    task: str
    max_unreadable_share: float
    reading: Reading = Reading()  # noqa: RUF009

    @classmethod
    def of(cls, config: Params, strict: bool = False, reading: Reading = Reading()) -> "Rules":  # noqa: B008
        return cls(config.task, 0.0 if strict else config.ingest.max_unreadable_share, reading)


@dataclass(frozen=True)
class Parsed:
    """A source as rows; `frame` has the place of each as its index. The table that was read is let go: it is larger."""

    frame: pd.DataFrame
    rejects: list[Reject]
    unused: tuple[str, ...]  # columns
    notes: tuple[str, ...]
    format: str
    counts: AnswerCounts | None


def nothing() -> None: ...


def ingest(
    source: str,
    raw: Path,
    columns: Columns,
    rules: Rules,
    origin: Origin = Origin(),
    track: Callable[[], None] = nothing,
    also: Path | None = None,
) -> IngestResult:
    """Append what is new in `source` to the folder `raw`, then `track` it; if that raises, take it back.

    Rows that stand in the folder `also` count as known: they came in before and were set aside.
    """
    facts = source_facts.facts(origin.licence, origin.collected)
    parsed, task, name = _parse(source, columns, origin.name, rules), rules.task, origin.name or _name(source)
    rows = parsed.frame
    failpoints.point("ingest:parsed")
    with waiting(LOCK, PATIENCE, "ingest"):
        existing = _existing_rows(raw, task)
        quarantine = _of_task(row_table.read(also), task) if also and also.exists() else existing[:0]
        before = pd.concat([existing, quarantine], ignore_index=True)
        if row_table.SLICES in rows or row_table.SLICES in before:
            before = before.reindex(columns=task_data.of(task, [row_table.SLICES]).columns, fill_value="").fillna("")
        rows = _with_first_spellings(rows, before, task)
        fates = fates_of(rows, before)
        fresh = rows[fates.isin(["added", "corrected"])]
        reject_lines = rejects.new_lines(parsed.rejects, name, raw)
        with unfinished_ingest.announced(raw), _with_facts(name, facts, raw):
            part, rejects_file = _append(fresh, reject_lines, raw, f"{_number(raw, also):05d}-{_slug(name)}", track)
    count = Counter(fates)
    return IngestResult(
        received=len(rows) + len(parsed.rejects),
        added=count["added"],
        corrected=count["corrected"],
        known=count["known"],
        repeated=count["repeated"],
        total=len(existing) + len(fresh),
        rejected=len(parsed.rejects),
        part=part,
        rejects_file=rejects_file,
        reasons=rejects.reasons(parsed.rejects),
        unused=parsed.unused,
        format=parsed.format,
        counts=parsed.counts,
        notes=parsed.notes,
    )


def _with_first_spellings(rows: pd.DataFrame, existing: pd.DataFrame, task: str) -> pd.DataFrame:
    """Rows whose ids, groups and labels spell a number as the rows before do: 1 and 1.0 are one."""
    names = ("id", "group", "label") if task_data.of(task).has_labels else ("id", "group")
    return rows.assign(**{name: first_spelling(rows[name], existing[name]) for name in names})


def count_rows(source: str, columns: Columns, name: str | None, rules: Rules) -> int:
    """How many rows `ingest` would read. Raises what it would raise; keeps nothing."""
    return len(_parse(source, columns, name, rules).frame)


def _parse(source: str, columns: Columns, name: str | None, rules: Rules) -> Parsed:
    table = read(source, replace(rules.reading, must_have=wanted_columns(columns, rules.task)))
    columns = complete_columns(columns, table, rules.task)
    mapped = read_answers(table, columns, rules.task)
    faults = mapped.faults
    rows = rows_of(table, columns, name or _name(source), mapped.values, faults)
    unreadable, received = table.all_rejects(faults), len(table.places) + len(table.rejects)
    rejects.refuse_too_many(table.name, unreadable, received, rules.max_unreadable_share)
    used = {*columns.roles().values(), *columns.keep, *mapped.columns}
    unused = tuple(column for column in table.names if column not in used)
    return Parsed(rows, unreadable, unused, tuple(table.notes), mapped.format, mapped.counts)


def fates_of(rows: pd.DataFrame, existing: pd.DataFrame) -> pd.Series:
    """For each row: added, corrected, known or repeated. `existing` is all that data/raw holds."""
    key = ["id", *content_columns([*rows.columns])]
    is_known = pd.concat([existing[key], rows[key]], ignore_index=True).duplicated().to_numpy()[len(existing) :]
    fates = np.select(
        [rows.duplicated(key).to_numpy(), is_known, rows["id"].isin(existing["id"]).to_numpy()],
        ["repeated", "known", "corrected"],
        default="added",
    )
    return pd.Series(fates, index=rows.index)


def _name(source: str) -> str:
    if source.startswith("hf:"):
        dataset = source.removeprefix("hf:").partition(":")[0]
        return Path(dataset).name if Path(dataset).exists() else dataset
    path = Path(source)
    stem = path.name if path.is_dir() else path.name.removesuffix("".join(path.suffixes[-1:]))
    if path.suffix.lower() in compression.SUFFIXES:
        stem = Path(stem).stem
    return stem.encode("utf-8", "replace").decode()


def _existing_rows(raw: Path, task: str) -> pd.DataFrame:
    for unfinished in raw.glob(".*.tmp"):  # an ingest was killed; we are alone, so nobody writes these
        unfinished.unlink()
    pointer = raw.with_name(f"{raw.name}.dvc")
    if pointer.exists() and not any(raw.glob("*.parquet")):
        raise Broken(f"{pointer} says there are rows, but {raw} is empty: run `dvc checkout` or `dvc pull` first")
    if not raw.exists():
        return pd.DataFrame(columns=task_data.of(task).columns, dtype="str")
    try:
        rows = row_table.read(raw)
        if len(rows) and (row_table.REJECTED in rows) != task_data.of(task).has_pairs:
            raise WrongUse(f"{raw} holds the rows of another task, and task is {task}: use a clone of its own for each")
        rows = _of_task(rows, task)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise Broken(f"{raw} holds a file that is no part: {error}. Run `dvc checkout` to restore it") from None
    if rows.isna().any(axis=None):
        raise Broken(f"{raw} holds a file with other columns or nulls. Run `dvc checkout` to restore it")
    return rows


def _of_task(rows: pd.DataFrame, task: str) -> pd.DataFrame:
    """The columns of the task. Parts of an earlier release have no slices."""
    if row_table.SLICES in rows:
        rows = rows.fillna({row_table.SLICES: ""})
    return rows[list(task_data.of(task, rows.columns).columns)]


@contextmanager
def _with_facts(name: str, facts: dict[str, str], raw: Path) -> Iterator[None]:
    """What is stated of the source `name` stands in `raw` from here on, unless the block ends with an error."""
    before = source_facts.read(raw)
    after = {**before, name: {**before.get(name, {}), **facts}} if facts else before
    if after == before:
        yield
        return
    path = raw / source_facts.FILE
    is_new, content = not raw.exists(), path.read_bytes() if path.exists() else None
    try:
        _write_facts(after, raw)
        failpoints.point("ingest:stated")
        yield
    except BaseException:
        _restore(content, path)
        if is_new:
            with suppress(OSError):
                raw.rmdir()
        raise


def _write_facts(facts: source_facts.Stated, raw: Path) -> None:
    try:
        source_facts.write(facts, raw)
    except OSError as error:
        raise Broken(f"{raw / source_facts.FILE} could not be written: {error}. Nothing was added") from None


def _restore(content: bytes | None, path: Path) -> None:
    if content is None:
        path.unlink(missing_ok=True)
        return
    write_bytes(path, content)


def _append(
    fresh: pd.DataFrame, reject_lines: Sequence[str], raw: Path, name: str, track: Callable[[], None]
) -> tuple[Path | None, Path | None]:
    """Write the part and the rejects, if there are any, and track; a crash may have come between, so track in any case.

    `name` begins the name of each. Returns the two files.
    """
    is_new = not raw.exists()
    part = raw / _part_name(fresh, name) if len(fresh) else None
    rejects_file = None
    try:
        if reject_lines:
            rejects_file = _written(raw, lambda: rejects.write(reject_lines, raw, name))
        if part:
            _written(part, lambda: row_table.write(fresh, part))
            failpoints.point("ingest:written")
        track()
        failpoints.point("ingest:tracked")
    except BaseException:
        for path in filter(None, (part, rejects_file)):
            path.unlink(missing_ok=True)
        if is_new:
            with suppress(OSError):
                raw.rmdir()
        raise
    return part, rejects_file


def _written(path: Path, write: Callable[[], T]) -> T:
    try:
        return write()
    except OSError as error:
        raise Broken(f"{path} could not be written: {error}. Nothing was added") from None


def _number(*folders: Path | None) -> int:
    """That of the next part: parts are read in the order in which they came."""
    parts = [part for folder in folders if folder for part in folder.glob("[0-9]" * 5 + "-*.parquet")]
    return max((int(part.name[:5]) for part in parts), default=0) + 1


def _slug(source: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", source.lower()).strip("-")[:40] or "rows"


def _part_name(fresh: pd.DataFrame, name: str) -> str:
    """`00001-<source>-<8 hex of content>.parquet`."""
    content = hashlib.sha256(pd.util.hash_pandas_object(fresh, index=False).to_numpy().tobytes())
    return f"{name}-{content.hexdigest()[:8]}.parquet"
