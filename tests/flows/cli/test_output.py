"""Answers on a terminal of any width: nothing runs over it, and what is cut says so."""

import time
from dataclasses import replace

import pytest

from flows.cli import history, output
from flows.cli.output import cut, print_wrapped, say_if_slow, width
from retune.lineage.history import Entry

WHY = tuple(f"train.epochs: {number} → {number + 1}, which changes everything" for number in range(30))
LONG = "/srv/a/folder/that/is/longer/than/any/terminal/" + "x" * 120


def entry(number=7, why=WHY):
    facts = {"Decision": "nothing to do", "Evidence": "ab" * 32}
    by = "A. Tester With A Long Name <a.tester.with.a.long.name@mail.example.com>"
    return Entry(number, "t", "decided", "classifier", 1, "2026-11-25T14:30:00+00:00", by, why, facts, "", "", "")


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_the_history_fits_the_terminal_and_cuts_at_a_word_with_an_ellipsis(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    history.print_entries([entry(), entry(1234, ("short",))])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    (last,) = (line for line in lines if line.endswith(" …"))
    assert last.split()[-2].strip(",;") in " ".join(WHY).replace(",", "").split()
    assert lines[-1].split() == ["evidence", "abababababab;", "short"]
    history.print_entries([])


def test_the_history_says_what_happened_in_a_sentence(capsys):
    history.print_entries([replace(entry(why=()), event=event, facts={}) for event in ("champion", "registered")])
    output = capsys.readouterr().out
    assert "classifier/1 became champion" in output and "classifier/1 was registered" in output


def test_piped_there_is_a_width_as_well(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("sys.__stdout__", None)  # no terminal
    assert 80 <= width() <= 120


def test_a_path_is_never_broken(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    print_wrapped(f"removed {LONG}: {'word ' * 200}", lines=4)
    output = capsys.readouterr().out
    assert LONG in output and output.endswith("…\n")


def test_what_is_cut_says_so():
    assert (cut("short", 5), cut("longer", 5)) == ("short", "long…")


def test_work_that_is_silent_for_long_is_named_on_stderr_and_other_work_is_not(monkeypatch, capsys):
    monkeypatch.setattr(output, "PATIENCE", 0.02)
    with say_if_slow("checking quickly"):
        pass
    with say_if_slow("checking classifier/3"):
        time.sleep(0.1)
    assert capsys.readouterr() == ("", "checking classifier/3 …\n")
