"""How answers look on a terminal: a table for people, JSON for programs."""

import json
from collections.abc import Sequence
from typing import Any

import click

as_json = click.option("--json", "json_", is_flag=True, help="Print JSON instead of a table.")


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Columns as wide as their widest cell; nothing is cut, so that output can be read by other programs."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
