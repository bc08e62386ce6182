"""The few errors that a caller reacts to, drawn as a tree. Each carries the exit code of its kind.

    RetuneError
    ├── Refused       1  the answer is no: refused data, failed gate, nothing found
    ├── WrongUse      2  a wrong word, column, file or parameter: correct the call and try again
    └── Broken        3  there is no answer: a stage crashed, a check could not run, a store is away

`str(error)` is the sentence for people: what is wrong, the value, what to do. Its parts are fields, so that no caller
has to read the sentence. No traceback is shown for any of these.
"""

import json
from collections.abc import Sequence
from pathlib import Path


class RetuneError(Exception):
    """message: what is wrong, and the value. remedy: what to do. paths: files that tell more.

    raise Refused("the data fails 2 of 9 expectations", paths=[report])
    """

    exit_code = 3

    def __init__(self, message: str = "", *, remedy: str = "", paths: Sequence[Path] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.paths = tuple(paths)

    def __str__(self) -> str:
        sentence = f"{self.message}: {self.remedy}" if self.remedy else self.message
        return f"{sentence}; see {' and '.join(map(str, self.paths))}" if self.paths else sentence


class Refused(RetuneError):
    exit_code = 1


class WrongUse(RetuneError):
    exit_code = 2


class Broken(RetuneError):
    exit_code = 3


KINDS: tuple[type[RetuneError], ...] = (Refused, WrongUse, Broken)


def to_line(error: RetuneError) -> str:
    """One line of JSON, by which a process tells its error to the one that started it: `from_line` reads it."""
    kind = next((each for each in KINDS if isinstance(error, each)), Broken)
    paths = [str(path) for path in error.paths]
    fields = {"error": kind.__name__, "message": error.message, "remedy": error.remedy, "paths": paths}
    return json.dumps(fields)  # ASCII: no letter in it ends a line


def from_line(line: str) -> RetuneError | None:
    """The error that `to_line` wrote; None for any other line."""
    if not line.startswith('{"error": "'):
        return None
    try:
        fields = json.loads(line)
        kind = {each.__name__: each for each in KINDS}[fields["error"]]
        return kind(fields["message"], remedy=fields["remedy"], paths=[Path(path) for path in fields["paths"]])
    except (ValueError, KeyError, TypeError):
        return None
