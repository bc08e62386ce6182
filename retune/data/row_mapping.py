"""From a table to rows: which column is which, what each row says, under which id, and which rows have a fault."""

import difflib
import hashlib
import json
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from retune.data import chat_formats, row_table, slices, task_data
from retune.data.readers.table import SIDE_OF, Fault, Faults, Table
from retune.data.values import whole
from retune.errors import WrongUse

CONTENT = ["text", "label", "group", "given"]  # what makes a row the same row; its source does not
ANSWERS = ("text", "label", row_table.REJECTED)
UNKNOWN_SPLIT, SEVERAL_CONTENTS = "unknown split", "id with several contents"  # reasons


@dataclass(frozen=True)
class Columns:
    """Which column of the source is which. `split` names a column, or the side on which all rows stand."""

    text: str | None = None
    label: str | None = None
    id: str | None = None
    group: str | None = None
    split: str | None = None
    rejected: str | None = None  # task prefer: the worse answer
    slices: str | None = None  # of a part of data/raw: the column of that name
    keep: Sequence[str] = ()  # further columns that the rows keep, as slices

    def roles(self) -> dict[str, str | None]:
        return {role: column for role, column in vars(self).items() if role != "keep"}


def wanted_columns(columns: Columns, task: str) -> frozenset[str]:
    """The columns that a source must have, by which its header is known."""
    usual = () if task_data.of(task).text_is_messages else ("text", "label")
    stated = [column for role, column in columns.roles().items() if column and not _is_word(role, column)]
    return frozenset([*stated, *columns.keep, *(role for role in usual if not columns.roles()[role])])


def _is_word(role: str, column: str) -> bool:
    """Says the same of all rows, where no column has that name."""
    return (role == "split" and column in SIDE_OF) or (role == "label" and column == row_table.OTHER)


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
    for role, column in [*complete.roles().items(), *(("keep", column) for column in complete.keep)]:
        if column is None or column in table.names or _is_word(role, column):
            continue
        if task_data.of(task).text_is_messages and role in ANSWERS:
            continue
        message = f"{table.name} has no column {column!r}; it has {', '.join(table.names[:40])}"
        near = difflib.get_close_matches(column, table.names, n=1)
        message += f"; did you mean {near[0]!r}?" if near else "."
        message += f" Say which one holds the {role} with --{role} COLUMN"
        if not near and table.places and table.places[0] > 1:  # what stands above the first row
            message += ", or --no-header if these are a row"
        raise WrongUse(message + (f", or the side of all rows: {', '.join(SIDE_OF)}" if role == "split" else ""))
    return complete


def read_answers(table: Table, columns: Columns, task: str) -> chat_formats.Mapped:
    """Text, label and, for prefer, rejected of each row."""
    if task_data.of(task).text_is_messages:
        return chat_formats.read(table, task, columns.text, columns.label, columns.rejected)
    names = {role: str(columns.roles()[role]) for role in ("text", "label")}
    if is_other := names["label"] == row_table.OTHER and row_table.OTHER not in table.names:
        del names["label"]
    faults: Faults = {}
    values = {role: table.words(name, faults) for role, name in names.items()}
    if is_other:
        values["label"] = [row_table.OTHER] * len(table.places)
    where = f"the column{'s' * (len(names) > 1)} {' and '.join(names.values())}"
    return chat_formats.Mapped(where, tuple(names.values()), values, faults)


def rows_of(table: Table, columns: Columns, name: str, mapped: dict[str, list[str]], faults: Faults) -> pd.DataFrame:
    """The rows without a fault, with the columns of the task; the index says where in the source each one begins.

    Adds the faults that it finds to `faults`.
    """
    others = {role: column for role, column in columns.roles().items() if column and role not in ANSWERS}
    further = {column: table.words(column, faults) for column in columns.keep}
    values = mapped | {role: table.words(column, faults) for role, column in others.items() if column in table.names}
    splits = values.get("split") or [columns.split or ""] * len(table.places)
    values["given"] = list(table.sides) if table.sides and not columns.split else _splits(splits, faults)
    places = np.delete(np.arange(len(table.places)), [*faults])
    if faults:
        values = {role: [column[row] for row in places] for role, column in values.items()}
    if columns.keep:
        cells = {name: [column[row] for row in places] for name, column in further.items()}
        values[row_table.SLICES] = slices.dump_rows(cells)
    blank = [""] * len(places)
    values["source"] = [name] * len(blank)
    contents = zip(*(values.get(role, blank) for role in content_columns(mapped)), strict=True)
    values["id"] = name_rows([whole(word.strip()) for word in values.get("id", blank)], contents)
    rows = pd.DataFrame(
        {column: values.get(column, blank) for column in _with_optional(row_table.COLUMNS, values)},
        index=pd.Index(places),
        dtype="str",
    )
    several = _of_several_contents(rows, table)
    faults.update(several)
    rows = rows.drop(index=[*several])
    return rows.set_index(pd.Index(np.asarray(table.places)[rows.index]))


def content_columns(columns: Iterable[str]) -> list[str]:
    return _with_optional(CONTENT, columns)


def _with_optional(names: Iterable[str], columns: Iterable[str]) -> list[str]:
    return [*names, *(name for name in (row_table.REJECTED, row_table.SLICES) if name in set(columns))]


def _splits(names: Sequence[str], faults: Faults) -> list[str]:
    folded = [word.strip().lower() for word in names]
    for row, side in enumerate(folded):
        if side and side not in SIDE_OF:
            message = f"the side is {reprlib.repr(names[row])}: use {', '.join(SIDE_OF)}, or leave it empty"
            faults.setdefault(row, Fault(UNKNOWN_SPLIT, message))
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


def _of_several_contents(rows: pd.DataFrame, table: Table) -> Faults:
    """A fault for each row whose id another row has with other content: nobody knows which of them is right."""
    once = rows.drop_duplicates(["id", *content_columns([*rows.columns])])
    doubled = once["id"][once["id"].duplicated()]
    faults: Faults = {}
    if doubled.empty:
        return faults
    different, every = (each[each["id"].isin(doubled)].groupby("id").groups for each in (once, rows))
    for name, places in every.items():
        where = " and ".join(str(table.places[row]) for row in different[name][:2])
        message = (
            f"id {reprlib.repr(name)} stands at {table.unit}s {where} with other content: keep one of them, or give "
            "them different ids"
        )
        faults |= dict.fromkeys(places, Fault(SEVERAL_CONTENTS, message))
    return faults
