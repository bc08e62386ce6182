"""What the kinds of sources share: the result of a fetch, the columns that must be there, and the retries."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from retune.config.sources import Columns, Fetch, NamedColumns
from retune.data.intake_branch import Cursor
from retune.data.readers.table import SIDE_OF
from retune.errors import Broken, Refused, WrongUse
from retune.system.retry import RetryPolicy, TransientError, retry

T = TypeVar("T")
OPTIONS = re.compile(r"--(?:(delimiter|encoding|sheet)|(text|label|id|group|split|rejected))\b")
LONGEST_PAUSE = 3600.0  # seconds between two attempts, whatever a server asks for


@dataclass(frozen=True)
class FetchResult:
    files: tuple[Path, ...]
    rows: int
    cursor: Cursor
    waiting: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()  # why it does not bring some of its files; it brings the others
    places: tuple[str, ...] = ()  # of each file, where it comes from, as the cursor names it


def with_retries(action: Callable[[], T], fetch_config: Fetch, say: Callable[[str], None]) -> T:
    """The result of `action`, under the retry policy of section `fetch`. Raises Broken after the last attempt."""
    policy = RetryPolicy(fetch_config.attempts, fetch_config.pause_seconds, LONGEST_PAUSE)
    try:
        return retry(action, policy, say)
    except TransientError as error:
        attempts = fetch_config.attempts
        raise Broken(f"{error}, in {attempts} attempts: is it up, and reachable from here?") from None


def name_original(message: str, copy: Path, original: Path) -> str:
    """A message about a copy, which is gone when people read it, as one about the file that they can mend.

    What options of `retune ingest` say, params.yaml says of a source.
    """
    message = message.replace(str(copy), str(original)).replace(copy.name, original.name)
    return OPTIONS.sub(lambda option: f"{'reading' if option[1] else 'columns'}.{option[1] or option[2]}", message)


def require(columns: Columns | NamedColumns, names: Sequence[str], where: str, first: bool = True) -> None:
    """Raises WrongUse if `where`, which has the columns `names`, lacks one that params name.

    Unless it is the `first` time: then group and split may be absent, since many a service leaves out what is null.
    """
    for role, column in _roles(columns):
        if column is None or column in names or (role == "split" and column in SIDE_OF):
            continue
        if not first and role in ("group", "split", "keep"):
            continue
        near = difflib.get_close_matches(column, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise WrongUse(
            f"{where} has no column {column!r}; it has {', '.join(map(str, names[:40]))}{hint}"
            f" Correct columns.{role} of the source in params.yaml"
        )


def select_columns(record: Mapping[str, Any], columns: Columns | NamedColumns) -> dict[str, Any]:
    """The columns that params name; the others are left out."""
    names = dict.fromkeys(column for _, column in _roles(columns) if column)
    return {column: record.get(column) for column in names if column in record or column not in SIDE_OF}


def _roles(columns: Columns | NamedColumns) -> list[tuple[str, str | None]]:
    roles = [(role, column) for role, column in vars(columns).items() if role != "keep"]
    return [*roles, *(("keep", column) for column in columns.keep)]


def refuse_too_much(count: int, fetch_config: Fetch, where: str) -> None:
    """Raises Refused if `count` bytes are more than one source may bring at once."""
    if count > fetch_config.max_megabytes * 10**6:
        raise Refused(
            f"{where} brings more than {fetch_config.max_megabytes} MB at once: raise fetch.max_megabytes if that is"
            " right, and see that there is memory for it"
        )
