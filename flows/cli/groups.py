"""Groups of commands: help in sections, and old names refused with the present name."""

from collections.abc import Mapping, Sequence
from typing import Any

import click


class RenamingGroup(click.Group):
    """A group that knows the earlier names of its commands.

    renamed:  old words -> the command line that replaces them, both without `retune`
    bare:     what the group itself did when it was a command; None if it always was a group
    """

    def __init__(
        self, *args: Any, renamed: Mapping[str, str] | None = None, bare: str | None = None, **more: Any
    ) -> None:
        super().__init__(*args, **more)
        self.renamed, self.bare = dict(renamed or {}), bare

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words_of_today = {*self.commands, *ctx.help_option_names, "--version"}
        if self.bare and (not args or args[0] not in words_of_today):
            raise click.UsageError(f"`{ctx.command_path}` is now called `retune {self.bare}`.", ctx)
        for words in (" ".join(args[:2]), " ".join(args[:1])):
            if words in self.renamed:
                raise click.UsageError(f"`{ctx.command_path} {words}` is now called `{self.renamed[words]}`.", ctx)
        return super().parse_args(ctx, args)


class SectionedGroup(RenamingGroup):
    """A group whose help lists its commands in sections."""

    def __init__(self, *args: Any, sections: Mapping[str, Sequence[click.Command]], **more: Any) -> None:
        super().__init__(*args, commands=[each for section in sections.values() for each in section], **more)
        self.sections = sections

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(len(name) for name in self.commands)
        limit = formatter.width - 6 - width
        for title, commands in self.sections.items():
            with formatter.section(title):
                rows = [(f"{each.name:{width}}", each.get_short_help_str(limit)) for each in commands]
                formatter.write_dl(rows)
