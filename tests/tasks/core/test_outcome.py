"""What the history says of retrainings, read from entries in a real repository."""

import json
import subprocess
from datetime import UTC, datetime

import pytest

from tasks.core import history, outcome


@pytest.fixture
def decided(tmp_path, monkeypatch):
    """Enters an outcome of that year; returns the chain."""
    monkeypatch.chdir(tmp_path)
    author = ["-c", "user.name=A", "-c", "user.email=a@b"]
    for words in (["init", "-q"], [*author, "commit", "-q", "--allow-empty", "-m", "start"]):
        subprocess.run(["git", *words], check=True)

    def enter(year, word, **failures):
        facts = {outcome.DECISION: word, outcome.RUN: f"run-{year}"}
        told = {outcome.FAILED_SOURCES: json.dumps(failures)} if failures else {}
        history.decide("classifier", ["why"], {**facts, **told}, lambda entry: None, datetime(year, 1, 1, tzinfo=UTC))
        return history.read("classifier")

    return enter


def test_a_retraining_that_held_or_had_nothing_to_do_is_a_success(decided):
    for year, word in ((2031, "promoted"), (2032, "held"), (2033, "nothing to do")):
        assert outcome.last_success(decided(year, word)).year == year


def test_what_was_begun_broke_or_waits_is_none_nor_is_one_in_which_a_source_failed(decided):
    assert outcome.last_success(history.read("classifier")) is None
    decided(2031, "held")
    for year, word in ((2032, "train"), (2033, "failed"), (2034, "refused"), (2035, "awaiting")):
        assert outcome.last_success(decided(year, word)).year == 2031
    chain = decided(2036, "promoted", crm="CRM_URL is not set")
    assert outcome.last_success(chain).year == 2031
    assert outcome.word(outcome.last(chain)) == "failed"
    assert outcome.failures(outcome.last(chain)) == {"crm": "CRM_URL is not set"}
    assert outcome.last(chain, "run-2034").facts[outcome.DECISION] == "refused"
