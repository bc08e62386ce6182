"""What a run prints at its end."""

import pytest

from flows.cli import train
from flows.execution.run_context import Outcome
from retune.promotion.gate import Decision
from retune.registry.version import Version

VERSION = Version("classifier", 2, "run", "2026-01-01", (), {})
SCORES = {
    f"{model}{name}{end}": value
    for model, value in (("", 0.9), ("champion_", 0.8), ("probe_", 0.7), ("base_", 0.2))
    for name in ("accuracy", "macro_f1")
    for end in ("", "_low", "_high")
}
FIRST = {name: value for name, value in SCORES.items() if not name.startswith("champion_")}


@pytest.fixture
def printed_lines(capsys):
    def lines(decision, scores=SCORES, new=True):
        train._print_outcome(Outcome(VERSION, new, decision), scores, "classify")
        return capsys.readouterr().out.splitlines()

    return lines


@pytest.mark.parametrize(
    ("promote", "title"), [(True, "classifier/1, champion before"), (False, "classifier/1, champion")]
)
def test_the_champion_that_was_compared_with_has_a_row(printed_lines, promote, title):
    lines = printed_lines(Decision(promote, (), champion="classifier/1"))
    assert [line.split("  ")[0] for line in lines[2:6]] == ["classifier/2", title, "probe", "base, untouched"]
    assert "0.8000 [0.800, 0.800]" in lines[3]


def test_without_a_champion_there_is_no_row_for_one(printed_lines):
    lines = printed_lines(Decision(True, ()), FIRST)
    assert [line.split("  ")[0] for line in lines[2:5]] == ["classifier/2", "probe", "base, untouched"]


def test_the_report_that_is_named_is_the_one_with_the_champion_unless_nothing_was_scored(printed_lines):
    assert any(line.endswith(" .retune/report.html") for line in printed_lines(Decision(True, ())))
    assert any(line.endswith(" models/reports/report.html") for line in printed_lines(Decision(True, ()), new=False))
