"""How answers look on a terminal: a table for people, JSON for programs."""

import json
from collections.abc import Sequence
from typing import Any

import click

from tasks.core.errors import WrongUse


def in_words(context: click.Context, parameter: click.Parameter, said: str | None) -> str | None:
    """A callback for every option and argument that says why: on one line, and refused if it says nothing.

    None is left: whether the words may be left out is for the option to say.
    """
    if said is None:
        return None
    if not said.strip():
        name = parameter.make_metavar(context) if parameter.param_type_name == "argument" else parameter.opts[0]
        raise WrongUse(f"{name} is empty: say why in a few words; they are kept")
    return " ".join(said.split())


because = click.option("--reason", required=True, metavar="TEXT", callback=in_words, help="Why; kept in the history.")
as_json = click.option("--json", "json_", is_flag=True, help="Print JSON instead of a table.")


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Columns as wide as their widest cell; nothing is cut, so that output can be read by other programs."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
