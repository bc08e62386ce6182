"""Output on a terminal: a table for people, JSON for programs."""

import json
import os
import re
import shutil
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from retune.errors import WrongUse

PIPED = 100  # columns where the output is no terminal
LEAST = 80
PATIENCE = 2.0  # seconds of silence that nobody takes for an end
LINE_END = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")  # every line break of Python or a terminal


def in_words(context: click.Context, parameter: click.Parameter, words: str | None) -> str | None:
    """A callback for every option and argument with a reason: puts it on one line, and refuses an empty one.

    None is left: whether the words may be left out is for the option to say.
    """
    if words is None:
        return None
    if not words.strip():
        name = parameter.make_metavar(context) if parameter.param_type_name == "argument" else parameter.opts[0]
        raise WrongUse(f"{name} is empty: give a reason in a few words, which stay on record")
    return " ".join(words.split())


def require_reason(place: str) -> Callable[[Any], Any]:
    """The option --reason of a command that keeps it in `place`."""
    return click.option("--reason", required=True, metavar="TEXT", callback=in_words, help=f"Why; kept in {place}.")


as_json = click.option("--json", "json_", is_flag=True, help="Print JSON instead of a table.")


def say(line: str) -> None:
    """Print progress of work that must continue when its reader has gone (`| head -1`)."""
    try:
        click.echo(line)
    except BrokenPipeError:
        reader_has_gone()


@contextmanager
def say_if_slow(work: str) -> Iterator[None]:
    """Say on stderr what is being done, once it has been silent for long."""
    timer = threading.Timer(PATIENCE, click.echo, [f"{work} …"], {"err": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def reader_has_gone() -> None:
    """Discard all output, also what is still buffered: Python would end with an error over it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print columns as wide as their widest cell, and cut nothing, so that other programs can read them."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def on_one_line(text: str) -> str:
    """The text with line ends shown as \\n, so that a row of a table stays a row."""
    return LINE_END.sub(r"\\n", text)


def width() -> int:
    """The width of the terminal; COLUMNS wins."""
    return max(LEAST, shutil.get_terminal_size((PIPED, 24)).columns)


def print_wrapped(text: str, indent: int = 0, lines: int | None = None) -> None:
    """Wrap a text to the width of the terminal, cut at a word with … after so many lines. A path is never broken."""
    wrapped = textwrap.wrap(
        text,
        width(),
        initial_indent=" " * indent,
        subsequent_indent=" " * max(indent, 4),
        max_lines=lines,
        placeholder=" …",
        break_long_words=False,
        break_on_hyphens=False,
    )
    for line in wrapped:
        click.echo(line)


def cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}…"
