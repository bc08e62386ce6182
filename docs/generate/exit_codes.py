"""docs/reference/exit-codes.md: what each exit code means, from the tree of errors and the help of the commands."""

import inspect
import re
from collections.abc import Iterator

import click

from docs.generate.markdown import code, head, table
from flows.cli.main import retune
from retune import errors

OF_SIGNALS = {130: "Ctrl-C stopped the command", 143: "SIGTERM stopped the command"}
BRANCH = r"[├└]── {name} +(\d+) +(.+)"  # of the tree in the docstring of retune/errors.py


def page() -> str:
    answer = "0 is yes, 1 is no, 2 is a wrong call, and 3 means that there is no answer."
    lines = head("Exit codes", answer, "`retune/errors.py` and the help of the commands")
    rows = [("0", "", "the command did what it says, and the answer is yes")]
    rows += [(str(kind.exit_code), code(kind.__name__), _meaning(kind)) for kind in errors.KINDS]
    rows += [(str(number), "", meaning) for number, meaning in OF_SIGNALS.items()]
    lines += table(("exit code", "error", "meaning"), rows)
    lines += ["The message goes to standard error: what is wrong, the value, and what to do.", ""]
    lines += ["## Commands that answer by their exit code", ""]
    return "\n".join(lines + table(("command", "in its help"), _answers(retune, "retune")))


def _meaning(kind: type[errors.RetuneError]) -> str:
    branch = re.search(BRANCH.format(name=kind.__name__), errors.__doc__ or "")
    if not branch or int(branch[1]) != kind.exit_code:
        raise ValueError(f"the tree in the docstring of retune/errors.py lacks {kind.__name__} {kind.exit_code}")
    return branch[2]


def _answers(command: click.Command, path: str) -> Iterator[tuple[str, str]]:
    """Every command whose help mentions an exit code, with those sentences."""
    sentences = re.split(r"(?<=\.)\s+", inspect.cleandoc(command.help or ""))
    if answers := " ".join(each for each in sentences if "xit code" in each):
        yield code(path), answers
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from _answers(below, f"{path} {name}")
