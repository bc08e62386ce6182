"""docs/reference/cli.md: every command with its words, options and example, from click."""

import inspect
from collections.abc import Iterator

import click

from docs.generate.markdown import code, head, table
from flows.cli.main import RENAMED, SECTIONS, retune


def page() -> str:
    answer = (
        "`retune COMMAND --help` prints the same for one command. Commands work in a clone of the project and in any "
        "folder below it. [Exit codes](exit-codes.md) are the same for all."
    )
    lines = head("Commands", answer, "`flows/cli`")
    parent = click.Context(retune, info_name="retune")
    for title, commands in SECTIONS.items():
        lines += [f"## {title}", ""]
        for command in commands:
            lines += _describe(command, parent)
    rows = [(code(old), code(new)) for old, new in sorted(RENAMED.items())]
    return "\n".join([*lines, "## Words of earlier releases", "", *table(("was", "is now"), rows)])


def _describe(command: click.Command, parent: click.Context) -> Iterator[str]:
    context = click.Context(command, info_name=command.name, parent=parent)
    yield from (f"### {context.command_path}", "", *_text(command.help or ""), "")
    if isinstance(command, click.Group):
        for below in command.commands.values():
            yield from _describe(below, context)
        return
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    example = (command.epilog or "").removeprefix("Example: ")
    yield from ("```sh", usage, "```", "")
    records = [each.get_help_record(context) for each in command.params if isinstance(each, click.Option)]
    if rows := [(code(words), meaning) for words, meaning in filter(None, records)]:
        yield from table(("option", "meaning"), rows)
    yield from (f"Example: `{example}`", "")


def _text(text: str) -> list[str]:
    """A docstring as Markdown: what click prints as it stands, below \\b, is a code block."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    blocks = [
        "\n    ".join(["", *part.removeprefix("\b\n").split("\n")]) if "\b" in part else part for part in paragraphs
    ]
    return "\n\n".join(blocks).split("\n")
