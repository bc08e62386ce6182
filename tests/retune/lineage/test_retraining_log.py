"""What the history says of retrainings, read from entries in a real repository."""

import subprocess
from datetime import UTC, datetime

import pytest

from retune.lineage import history, retraining_log
from retune.lineage.entry_facts import End, Fact, RetrainingFacts
from tests.support.git_repo import init_repository


@pytest.fixture
def append_decision(tmp_path, monkeypatch):
    """Enters an outcome of that year, of version 7 or another; returns the chain."""
    monkeypatch.chdir(tmp_path)
    init_repository(tmp_path)

    def enter(year, word, about=7, run=None, because=None, **failures):
        facts = RetrainingFacts(
            outcome=End(word),
            version=f"classifier/{about}",
            run=f"run-{run or year}",
            inputs={"because": because},
            thresholds={},
            failures=failures,
        )
        at = datetime(year, 1, 1, tzinfo=UTC)
        history.append_decision("classifier", ["why"], facts.format(), lambda entry: None, at)
        return history.read("classifier")

    return enter


def test_a_retraining_that_held_or_had_nothing_to_do_is_a_success(append_decision):
    for year, word in ((2031, "promoted"), (2032, "held"), (2033, "nothing to do")):
        assert retraining_log.last_success(append_decision(year, word)).year == year


@pytest.fixture
def append_answer(append_decision):
    """Enters the answer of a person in that year; returns the chain."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()

    def enter(year, word, version=7):
        at = datetime(year, 1, 1, tzinfo=UTC)
        history.append("classifier", version, word, ["fine"], {"Record": commit}, lambda entry: None, at)
        return history.read("classifier")

    return enter


@pytest.mark.parametrize("word", [history.APPROVED, history.REJECTED])
def test_a_candidate_that_waited_for_a_person_is_a_success_when_it_is_answered(append_decision, append_answer, word):
    append_decision(2031, "held")
    append_decision(2032, "awaiting")
    assert retraining_log.last_success(append_answer(2033, word, version=8)).year == 2031, (
        "that was the answer to another one"
    )
    assert retraining_log.last_success(append_answer(2034, word)).year == 2034
    append_decision(2035, "awaiting", about=9, crm="CRM_URL is not set")
    assert retraining_log.last_success(append_answer(2036, word, version=9)).year == 2034, "a source failed"


def test_what_was_begun_broke_or_waits_is_none_nor_is_one_in_which_a_source_failed(append_decision):
    assert retraining_log.last_success(history.read("classifier")) is None
    append_decision(2031, "held")
    for year, word in ((2032, "train"), (2033, "failed"), (2034, "refused"), (2035, "awaiting")):
        assert retraining_log.last_success(append_decision(year, word)).year == 2031
    chain = append_decision(2036, "promoted", crm="CRM_URL is not set")
    assert retraining_log.last_success(chain).year == 2031
    assert retraining_log.last(chain).effective_outcome == "failed"
    assert retraining_log.last(chain).failures == {"crm": "CRM_URL is not set"}
    assert retraining_log.last(chain, "run-2034").outcome == "refused"


def test_a_version_of_which_its_retraining_did_not_tell_was_cut_off(append_decision, append_answer):
    assert retraining_log.interrupted_version(history.read("classifier")) is None
    append_decision(2031, "train")
    assert retraining_log.interrupted_version(append_answer(2032, history.REGISTERED)) == "classifier/7"
    assert retraining_log.interrupted_version(append_decision(2033, "nothing to do", about=6)) == "classifier/7"
    assert retraining_log.interrupted_version(append_decision(2033, "failed")) == "classifier/7", (
        "a failure is no answer"
    )
    assert retraining_log.interrupted_version(append_decision(2034, "held")) is None
    assert retraining_log.interrupted_version(append_answer(2035, history.REGISTERED, version=8)) is None, (
        "nobody but a person has made it"
    )
    append_decision(2036, "train")
    append_decision(2036, "refused", about=0)
    assert retraining_log.interrupted_version(append_answer(2037, history.REGISTERED, version=9)) is None, (
        "that retraining has ended"
    )
    append_decision(2038, "train")
    append_decision(2038, "failed", about=0)
    assert retraining_log.interrupted_version(append_answer(2039, history.REGISTERED, version=10)) is None, (
        "it broke before a person made one"
    )


def test_a_version_whose_own_retraining_broke_behind_it_is_taken_up_again(append_decision, append_answer):
    append_decision(2031, "train")
    append_answer(2032, history.REGISTERED)
    assert retraining_log.interrupted_version(append_decision(2033, "failed", about=0, run=2031)) == "classifier/7"
    assert retraining_log.interrupted_version(append_decision(2034, "failed")) == "classifier/7", (
        "nor could the next one bring it to its end"
    )
    assert retraining_log.interrupted_version(append_decision(2035, "promoted")) is None


@pytest.mark.parametrize(
    ("event", "how"),
    [(history.CHAMPION, history.ROLLBACK), (history.CHAMPION, history.BY_HAND), (history.REJECTED, "")],
)
def test_a_person_who_has_decided_since_who_serves_has_the_last_word(append_decision, append_answer, event, how):
    append_decision(2031, "train")
    assert retraining_log.interrupted_version(append_answer(2032, history.REGISTERED)) == "classifier/7"
    facts = {"Record": "HEAD", **({Fact.HOW: how} if how else {})}
    history.append("classifier", 7, event, ["because"], facts, lambda entry: None)
    assert retraining_log.interrupted_version(history.read("classifier")) is None


def test_who_asked_for_a_retraining_that_was_killed_is_still_without_an_answer(append_decision, append_answer):
    assert retraining_log.unanswered_request(history.read("classifier")) is None
    assert retraining_log.unanswered_request(append_decision(2031, "train")) is None, "nobody had asked"
    assert retraining_log.unanswered_request(append_decision(2032, "train", because="the desk")) == "the desk"
    assert retraining_log.unanswered_request(append_decision(2033, "nothing to do")) == "the desk", (
        "that of another run beside it"
    )
    assert retraining_log.unanswered_request(append_decision(2034, "train", because="the desk")) == "the desk"
    assert retraining_log.unanswered_request(append_answer(2035, history.REGISTERED)) is None


@pytest.mark.parametrize(
    "end",
    [
        {"word": "refused", "run": 2031},
        {"word": "nothing to do", "because": "the desk"},  # the next one took it over
    ],
)
def test_who_asked_has_an_answer_once_a_retraining_has_come_to_its_end(append_decision, end):
    append_decision(2031, "train", because="the desk")
    assert retraining_log.unanswered_request(append_decision(2032, **end)) is None


def test_what_one_run_reported_is_one_attempt_even_where_another_ran_beside_it(append_decision):
    append_decision(2031, "train", run=1)
    append_decision(2032, "train", run=2)
    append_decision(2033, "held", run=1)
    chain = append_decision(2034, "failed", run=2)
    outcomes = {each.run: [report.facts.outcome for report in each.reports] for each in retraining_log.attempts(chain)}
    assert outcomes == {"run-1": ["train", "held"], "run-2": ["train", "failed"]}
