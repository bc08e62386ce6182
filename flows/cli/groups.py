"""Groups of commands: help in sections; old names, and an option with two values, are refused."""

import copy
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import click


class TextsCommand(click.Command):
    """A command whose texts may begin with a dash: what has a space in it is no option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, self.options_first(ctx, args))

    def options_first(self, ctx: click.Context, args: Sequence[str]) -> list[str]:
        """The options with their values, `--`, and the texts, where one of these would pass for an option."""
        if "--" in args or not any(word.startswith("-") and " " in word for word in args):
            return [*args]
        is_flag = {
            name: isinstance(parameter, click.Option) and parameter.is_flag
            for parameter in self.get_params(ctx)
            for name in parameter.opts
            if name.startswith("-")
        }
        options: list[str] = []
        texts: list[str] = []
        words = iter(args)
        for word in words:
            if word.partition("=")[0] not in is_flag:
                texts.append(word)
            else:
                options += [word] if "=" in word or is_flag[word] else [word, *islice(words, 1)]
        return [*options, "--", *texts]


class StrictGroup(click.Group):
    """A group whose commands take each option of one value once: click takes the last value, without a word."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if command and not isinstance(command, click.Group):
            _refuse_two_values(command, command.context_class(command, ctx, name, **command.context_settings), rest)
        return name, command, rest


def _refuse_two_values(command: click.Command, ctx: click.Context, args: Sequence[str]) -> None:
    """Raises UsageError that quotes the values which `args` give to one option of `command` that takes one."""
    if isinstance(command, TextsCommand):
        args = command.options_first(ctx, args)
    single = {parameter.name: parameter for parameter in command.params if _takes_one_value(parameter)}
    if not single:
        return
    collecting = [copy.copy(parameter) for parameter in command.params]
    for parameter in collecting:
        parameter.multiple |= parameter.name in single
    values, _, _ = click.Command(command.name, params=collecting).make_parser(ctx).parse_args([*args])
    for name, parameter in single.items():
        different = [*dict.fromkeys(values.get(name, ()))]
        if len(different) > 1:
            words = " and ".join(map(repr, different))
            raise click.UsageError(f"{parameter.opts[0]} takes one value, and has {words}: give one of them.", ctx)


def _takes_one_value(parameter: click.Parameter) -> bool:
    if not isinstance(parameter, click.Option):
        return False
    return parameter.nargs == 1 and not (parameter.is_flag or parameter.count or parameter.multiple)


class RenamingGroup(StrictGroup):
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
