"""What the kinds of sources share: what was taken, which columns must be there, and how often to try."""

import difflib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from retune.config.params import Columns, Fetch, NamedColumns
from retune.data.intake_branch import Cursor
from retune.data.readers import SIDE_OF
from retune.errors import Broken, Refused, WrongUse

T = TypeVar("T")


@dataclass(frozen=True)
class FetchResult:
    files: tuple[Path, ...]
    rows: int
    cursor: Cursor
    waiting: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()  # why files of it were not taken; the others were
    places: tuple[str, ...] = ()  # of each file, where it comes from, as the cursor names it


class TransientError(Exception):
    """A failure that may pass by itself: no connection, a time-out, a cut answer, a server in trouble."""


def retry(act: Callable[[], T], knobs: Fetch, say: Callable[[str], None]) -> T:
    """`act`, again after a pause as long as what it meets may pass. Raises Broken after the last attempt."""
    for attempt in range(1, knobs.attempts):
        try:
            return act()
        except TransientError as problem:
            pause = knobs.pause_seconds * 2 ** (attempt - 1)
            say(f"{problem}; attempt {attempt} of {knobs.attempts}, again in {pause:g} s")
            time.sleep(pause)
    try:
        return act()
    except TransientError as problem:
        raise Broken(f"{problem}, in {knobs.attempts} attempts: is it up, and reachable from here?") from None


def of_the_original(words: str, copy: Path, original: Path) -> str:
    """What was said of a copy, which is gone when people read it, said of the file that they can mend."""
    return words.replace(str(copy), str(original)).replace(copy.name, original.name)


def require(columns: Columns | NamedColumns, names: Sequence[str], where: str, first: bool = True) -> None:
    """Raises WrongUse if `where`, which has the columns `names`, lacks one that params name.

    Unless it is the `first` time: then group and split may be absent, since many a service leaves out what is null.
    """
    for role, column in vars(columns).items():
        if column is None or column in names or (role == "split" and column in SIDE_OF):
            continue
        if not first and role in ("group", "split"):
            continue
        near = difflib.get_close_matches(column, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise WrongUse(
            f"{where} has no column {column!r}; it has {', '.join(map(str, names[:40]))}{hint}"
            f" Mend columns.{role} of the source in params.yaml"
        )


def select_columns(record: Mapping[str, Any], columns: Columns | NamedColumns) -> dict[str, Any]:
    """The columns that params name, and no others: what nobody asked for is not kept."""
    wanted = dict.fromkeys(column for column in vars(columns).values() if column)
    return {column: record.get(column) for column in wanted if column in record or column not in SIDE_OF}


def refuse_too_much(count: int, knobs: Fetch, where: str) -> None:
    """Raises Refused if `count` bytes are more than one source may bring at once."""
    if count > knobs.max_megabytes * 10**6:
        raise Refused(
            f"{where} brings more than {knobs.max_megabytes} MB at once: raise fetch.max_megabytes if that is right,"
            " and see that there is memory for it"
        )
