"""The words of the command line: sections, an example for each command, the version, and words of earlier releases."""

import importlib.metadata
import re

import click
import pytest
from click.testing import CliRunner

from flows.cli.main import RENAMED, SECTIONS, retune


def ask(*words):
    return CliRunner().invoke(retune, words, prog_name="retune")


def commands(group, *parents):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *parents, name)
        else:
            yield (*parents, name), command


EACH = dict(commands(retune))


def test_the_help_lists_every_command_in_its_section():
    lines = ask("--help").stdout.splitlines()
    assert list(SECTIONS) == ["Data", "Train", "Models", "Serving", "Lineage", "Retraining", "Services"]
    for title, section in SECTIONS.items():
        following = lines[lines.index(f"{title}:") + 1 :]
        names = [line.split()[0] for line in following[: len(section)]]
        assert names == [command.name for command in section]


def test_no_line_of_the_help_is_cut():
    assert "..." not in ask("--help").stdout.partition("Data:")[2]


@pytest.mark.parametrize("words", EACH, ids=" ".join)
def test_every_command_explains_itself_with_an_example_of_its_own(words):
    answer = ask(*words, "--help")
    assert answer.exit_code == 0
    assert re.search(rf"Example: retune {' '.join(words)}\b", re.sub(r"\s+", " ", answer.stdout))


def test_the_version_is_that_of_the_installed_package():
    assert ask("--version").stdout == f"retune {importlib.metadata.version('retune')}\n"


@pytest.mark.parametrize("words", RENAMED)
def test_a_word_of_an_earlier_release_is_refused_with_the_word_of_today(words):
    answer = ask(*words.split())
    assert answer.exit_code == 2
    assert f"`retune {words}` is now called `{RENAMED[words]}`" in answer.stderr


@pytest.mark.parametrize(
    ("words", "now"),
    [
        (["sources"], "sources check"),
        (["sources", "--json"], "sources check"),
        (["notify"], "notify test [TEXT]"),
        (["notify", "is this on?"], "notify test [TEXT]"),
    ],
    ids=str,
)
def test_a_command_that_became_a_group_says_so(words, now):
    answer = ask(*words)
    assert answer.exit_code == 2
    assert f"is now called `retune {now}`" in answer.stderr


def options_of_one_value():
    for words, command in EACH.items():
        for option in command.params:
            if isinstance(option, click.Option) and not (option.is_flag or option.multiple):
                yield pytest.param(words, option.opts[-1], id=f"{' '.join(words)} {option.opts[-1]}")


@pytest.mark.parametrize(("words", "option"), [*options_of_one_value()])
def test_an_option_of_one_value_is_refused_with_two(words, option):
    answer = ask(*words, option, "first words", option, "second words")
    assert answer.exit_code == 2
    assert answer.stderr.splitlines()[-1].endswith(
        "takes one value, and has 'first words' and 'second words': give one of them."
    )


def test_an_option_may_be_given_twice_with_one_value_and_a_repeatable_one_with_two():
    answer = ask("params", "explain", "--json", "--json", "train", "--unknown")
    assert "No such option" in answer.stderr
    answer = ask("run", "--name", "a", "--name", "a", "-S", "a.b=1", "-S", "a.c=1", "--unknown")
    assert "No such option" in answer.stderr


def test_what_a_word_is_now_called_exists():
    for now in RENAMED.values():
        command = retune
        for word in now.split()[1:]:
            command = command.commands[word]
