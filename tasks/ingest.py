"""Bring records in: read a source whole, see what is new, append it to data/raw as one more Parquet part.

    retune ingest tickets.csv --text body --label queue

Nothing is dropped here and no text is changed: that is curate's work. Everything is parsed before anything is
written, parts are only ever added, and on any error data/raw stays as it was. Ingesting a file again adds
nothing; an id that comes back with other words is appended as a correction, and curate lets the newest win.
Where a model is to write (task instruct or prefer), `retune.data.chat_formats` reads prompts and answers out of the
formats in which people keep them.
A licence and a collection window of the source, if they are stated, go into data/raw/sources.json.
Not covered: to take a correction back. The old words are in an earlier part, so they count as known.
"""

import difflib
import hashlib
import json
import re
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from retune.data import chat_formats, row_table, source_facts, task_data
from retune.data.readers import SIDE_OF, NoText, Table, read, word
from retune.errors import Broken, Refused, WrongUse
from retune.system import failpoints
from retune.system.files import write_bytes
from retune.system.locks import waiting

CONTENT = ["text", "label", "group", "given"]  # what makes a row the same row; its source does not
ANSWERS = ("text", "label", row_table.REJECTED)
LOCK = Path(".retune/ingest.lock")
PATIENCE = 600  # seconds to wait for another ingest


@dataclass(frozen=True)
class Columns:
    """Which column of the source is which. `split` names a column, or the side on which all rows stand."""

    text: str | None = None
    label: str | None = None
    id: str | None = None
    group: str | None = None
    split: str | None = None
    rejected: str | None = None  # task prefer: the worse answer


@dataclass(frozen=True)
class Origin:
    """Where the rows come from. What is stated anew replaces what was stated before; what is not stated stays."""

    name: str | None = None  # of the source; None: that of its file
    licence: str | None = None
    collected: str | None = None  # the window in which the rows were collected


@dataclass(frozen=True)
class IngestResult:
    """What became of the rows: received = added + corrected + known + repeated."""

    received: int
    added: int  # new ids
    corrected: int  # ids that were there with other content; appended too
    known: int  # there already, to the letter
    repeated: int  # one id with the same content, twice in this source; added once
    total: int  # rows in data/raw, the corrected ones included
    part: Path | None  # None: nothing was new
    unused: tuple[str, ...]  # columns of the source that are not read
    format: str  # in which text and label were found


def nothing() -> None: ...


def ingest(
    source: str,
    raw: Path,
    columns: Columns,
    task: str,
    origin: Origin = Origin(),
    track: Callable[[], None] = nothing,
    also: Path | None = None,
) -> IngestResult:
    """Append what is new in `source` to the folder `raw`, then `track` it; if that raises, take it back.

    Rows that stand in the folder `also` count as known: they came in before and were set aside.
    """
    facts = source_facts.facts(origin.licence, origin.collected)
    table, columns, mapped, rows = _parse(source, columns, origin.name, task)
    failpoints.point("ingest:parsed")
    with waiting(LOCK, PATIENCE, "ingest"):
        existing = _existing_rows(raw, task)
        quarantine = row_table.read(also)[list(task_data.of(task).columns)] if also and also.exists() else existing[:0]
        fates = fates_of(rows, pd.concat([existing, quarantine], ignore_index=True))
        fresh = rows[fates.isin(["added", "corrected"])]
        with _with_facts(origin.name or _name(source), facts, raw):
            part = _append(fresh, raw, _number(raw, also), track)
    count = Counter(fates)
    return IngestResult(
        received=len(rows),
        added=count["added"],
        corrected=count["corrected"],
        known=count["known"],
        repeated=count["repeated"],
        total=len(existing) + len(fresh),
        part=part,
        unused=tuple(column for column in table.names if column not in {*vars(columns).values(), *mapped.columns}),
        format=mapped.format,
    )


def count_rows(source: str, columns: Columns, name: str | None, task: str) -> int:
    """How many rows `ingest` would read. Raises what it would raise; keeps nothing."""
    return len(_parse(source, columns, name, task)[-1])


def _parse(
    source: str, columns: Columns, name: str | None, task: str
) -> tuple[Table, Columns, chat_formats.Mapped, pd.DataFrame]:
    table = read(source)
    columns = complete_columns(columns, table, task)
    mapped = read_answers(table, columns, task)
    return table, columns, mapped, rows_of(table, columns, name or _name(source), mapped.values)


def complete_columns(columns: Columns, table: Table, task: str) -> Columns:
    """The columns with what is not named filled in. Raises WrongUse if one of them isn't in the table.

    Where a model is to write, it is not known yet which columns hold prompt and answers.
    """
    if columns.rejected and not task_data.of(task).has_pairs:
        raise WrongUse(
            f"--rejected {columns.rejected} names the worse of two answers: only task prefer has one, not {task}"
        )
    complete = columns
    if not task_data.of(task).text_is_messages:
        complete = replace(columns, text=columns.text or "text", label=columns.label or "label")
    for role, column in vars(complete).items():
        if column is None or column in table.names or (role == "split" and column in SIDE_OF):
            continue
        if task_data.of(task).text_is_messages and role in ANSWERS:
            continue
        message = f"{table.name} has no column {column!r}; it has {', '.join(table.names[:40])}"
        near = difflib.get_close_matches(column, table.names, n=1)
        message += f"; did you mean {near[0]!r}?" if near else "."
        message += f" Say which one holds the {role} with --{role} COLUMN"
        raise WrongUse(message + (f", or the side of all rows: {', '.join(SIDE_OF)}" if role == "split" else ""))
    return complete


def read_answers(table: Table, columns: Columns, task: str) -> chat_formats.Mapped:
    """Text, label and, for prefer, rejected of each row."""
    if task_data.of(task).text_is_messages:
        return chat_formats.read(table, task, columns.text, columns.label, columns.rejected)
    names = {role: str(vars(columns)[role]) for role in ("text", "label")}
    values = {role: words(table, name) for role, name in names.items()}
    return chat_formats.Mapped(f"the columns {' and '.join(names.values())}", tuple(names.values()), values)


def rows_of(table: Table, columns: Columns, name: str, mapped: dict[str, list[str]]) -> pd.DataFrame:
    """The rows with the columns of the task; the index says where in the source each one begins."""
    blank = [""] * len(table.places)
    others = {role: column for role, column in vars(columns).items() if role not in ANSWERS}
    values = mapped | {role: words(table, column) for role, column in others.items() if column in table.names}
    splits = values.get("split") or [columns.split or ""] * len(blank)
    values["given"] = list(table.sides) if table.sides and not columns.split else _splits(table, splits)
    values["source"] = [name] * len(blank)
    contents = zip(*(values.get(role, blank) for role in _content(mapped)), strict=True)
    values["id"] = name_rows([word.strip() for word in values.get("id", blank)], contents)
    rows = pd.DataFrame(
        {column: values.get(column, blank) for column in _with_pairs(row_table.COLUMNS, mapped)},
        index=pd.Index(table.places),
        dtype="str",
    )
    _refuse_two_answers(rows, table)
    return rows


def _content(columns: Iterable[str]) -> list[str]:
    return _with_pairs(CONTENT, columns)


def _with_pairs(names: Iterable[str], columns: Iterable[str]) -> list[str]:
    return [*names, *({row_table.REJECTED} & set(columns))]


def words(table: Table, column: str) -> list[str]:
    """A column as text: null is empty, true is `true`, 7.0 is 7. Raises Refused for what is no text."""
    return [_word(value, table, column, row) for row, value in enumerate(table.column(column))]


def _word(value: Any, table: Table, column: str, row: int) -> str:
    try:
        return word(value)
    except NoText as error:
        raise Refused(f"{table.place(row)}: {column} is {reprlib.repr(value)}{error}") from None


def _splits(table: Table, names: Sequence[str]) -> list[str]:
    folded = [word.strip().lower() for word in names]
    for row, side in enumerate(folded):
        if side and side not in SIDE_OF:
            message = f"{table.place(row)}: the side is {reprlib.repr(names[row])}"
            raise Refused(f"{message}: use {', '.join(SIDE_OF)}, or leave it empty")
    return [SIDE_OF.get(word, "") for word in folded]


def name_rows(ids: Sequence[str], contents: Iterator[tuple[str, ...]]) -> list[str]:
    """Give each row without an id one that its content makes; the second copy gets `-2`, so none is lost."""
    copies: Counter[str] = Counter()
    names = []
    for own_id, content in zip(ids, contents, strict=True):
        name = own_id or "r-" + hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
        if not own_id:
            copies[name] += 1
            name += f"-{copies[name]}" if copies[name] > 1 else ""
        names.append(name)
    return names


def _refuse_two_answers(rows: pd.DataFrame, table: Table) -> None:
    once = rows.drop_duplicates(["id", *_content([*rows.columns])])
    if (again := once["id"].duplicated()).any():
        word = once["id"][again].iloc[0]
        first, second = once.index[once["id"] == word][:2]
        raise Refused(
            f"{table.name}: id {reprlib.repr(word)} stands at {table.unit}s {first} and {second} with other"
            " content: keep one of them, or give them different ids"
        )


def fates_of(rows: pd.DataFrame, existing: pd.DataFrame) -> pd.Series:
    """For each row: added, corrected, known or repeated. `existing` is all that data/raw holds."""
    key = ["id", *_content([*rows.columns])]
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
    return Path(source).stem.encode("utf-8", "replace").decode()


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
        rows = rows[list(task_data.of(task).columns)]
    except (pa.ArrowException, OSError, KeyError) as error:
        raise Broken(f"{raw} holds a file that is no part: {error}. Run `dvc checkout` to restore it") from None
    if rows.isna().any(axis=None):
        raise Broken(f"{raw} holds a file with other columns or nulls. Run `dvc checkout` to restore it")
    return rows


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


def _append(fresh: pd.DataFrame, raw: Path, number: int, track: Callable[[], None]) -> Path | None:
    """Write the part, if there is one, and track; a crash may have come between, so track in any case."""
    if fresh.empty:
        track()
        return None
    is_new = not raw.exists()
    part = raw / _part_name(fresh, number)
    try:
        _write(fresh, part)
        failpoints.point("ingest:written")
        track()
        failpoints.point("ingest:tracked")
    except BaseException:
        part.unlink(missing_ok=True)
        if is_new:
            with suppress(OSError):
                raw.rmdir()
        raise
    return part


def _write(fresh: pd.DataFrame, part: Path) -> None:
    try:
        row_table.write(fresh, part)
    except OSError as error:
        raise Broken(f"{part} could not be written: {error}. Nothing was added") from None


def _number(*folders: Path | None) -> int:
    """That of the next part: parts are read in the order in which they came."""
    parts = [part for folder in folders if folder for part in folder.glob("[0-9]" * 5 + "-*.parquet")]
    return max((int(part.name[:5]) for part in parts), default=0) + 1


def _part_name(fresh: pd.DataFrame, number: int) -> str:
    """`00001-<source>-<8 hex of content>.parquet`."""
    slug = re.sub(r"[^a-z0-9]+", "-", fresh["source"].iloc[0].lower()).strip("-")[:40] or "rows"
    content = hashlib.sha256(pd.util.hash_pandas_object(fresh, index=False).to_numpy().tobytes())
    return f"{number:05d}-{slug}-{content.hexdigest()[:8]}.parquet"
