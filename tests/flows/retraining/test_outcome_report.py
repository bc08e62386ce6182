"""What a retraining leaves behind for people: entries in a real history, and messages through a real server."""

import logging
import shutil
import subprocess
from pathlib import Path

import pytest

from flows import retrain
from flows.execution import recovery, run_context
from flows.execution.run_context import Outcome
from flows.retraining import outcome_report
from flows.retraining.outcome_report import RetrainingOutcome
from retune.config.common import Notify
from retune.errors import Broken, Refused
from retune.lineage import history
from retune.lineage.entry_facts import End
from retune.promotion.gate import Decision
from retune.registry import versions
from retune.registry.versions import Version
from tasks import notify
from tests.support.environment import ROOT
from tests.support.git_repo import init_repository

EVENTS = ["promoted", "held", "refused", "failed", "recovered", "unhealthy", "awaiting"]
SIXTH = Version("classifier", 6, "run-6", "now", (), {})
GONE = {"crm": "CRM_URL is not set"}


@pytest.fixture
def notifications_after(tmp_path, monkeypatch, webhook):
    """Enters outcomes of one run after another; returns the titles of what people were told, and all of it."""
    port, notifications = webhook
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(notify.VARIABLE, f"json://127.0.0.1:{port}")
    init_repository(tmp_path)

    def enter(*outcomes, run="run"):
        del notifications[:]
        for each_outcome in outcomes:
            outcome_report.append_to_history("classifier", each_outcome, run, Notify(EVENTS, 20.0), lambda entry: None)
        return [notification["title"] for notification in notifications], notifications

    return enter


@pytest.fixture
def notifications_after_run(notifications_after, monkeypatch):
    """Tells of a run by hand; returns what others heard."""
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "A")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "a@b")
    _, notifications = notifications_after()

    def run(outcome):
        outcome_report.notify_manual_run(outcome, Notify(EVENTS, 20.0))
        return notifications

    return run


def outcome_of(word, failures=None, version=None):
    return RetrainingOutcome(End(word), ("why not",), version, failures=failures)


@pytest.mark.parametrize("word", ["promoted", "held", "awaiting", "refused", "failed"])
def test_a_source_that_failed_is_told_in_every_outcome(notifications_after, word):
    titles, notifications = notifications_after(outcome_of("train", GONE), outcome_of(word, GONE, "classifier/2"))
    assert titles.count("classifier: a source failed") == 1 and len(titles) == 2, titles
    assert all("the source crm failed: CRM_URL is not set" in notification["message"] for notification in notifications)
    for entry in history.read("classifier").entries:
        assert "the source crm failed: CRM_URL is not set" in entry.why
        assert entry.retraining.failures == GONE
    assert "- crm: CRM_URL is not set" in outcome_report.page("classifier", outcome_of(word, GONE))


def test_it_is_told_when_there_is_nothing_to_do_too(notifications_after):
    assert notifications_after(outcome_of("nothing to do", GONE))[0] == ["classifier: a source failed"]
    assert history.read("classifier").last.why == ("why not", "the source crm failed: CRM_URL is not set")


@pytest.mark.slow
def test_while_a_source_fails_nothing_has_recovered_and_then_it_has(notifications_after):
    assert notifications_after(outcome_of("failed"), outcome_of("train", GONE), outcome_of("held", GONE))[0] == [
        "classifier: failed",
        "classifier: a source failed",
        "classifier: held",
    ]
    assert notifications_after(outcome_of("nothing to do", GONE))[0] == ["classifier: a source failed"]
    assert notifications_after(outcome_of("train"), outcome_of("promoted", version="classifier/2"))[0] == [
        "classifier: recovered",
        "classifier/2: promoted",
    ]
    assert notifications_after(outcome_of("nothing to do"))[0] == []


@pytest.mark.parametrize(
    ("word", "commands"),
    [
        ("awaiting", ["retune approve classifier/6 --reason TEXT", "retune reject classifier/6 --reason TEXT"]),
        ("held", ["retune promote classifier/6 --reason TEXT"]),
        ("failed", ["next retraining finishes classifier/6 first", "retune promote classifier/6 --reason TEXT"]),
        ("promoted", ["retune rollback classifier --reason TEXT` goes back to classifier/5"]),
    ],
)
def test_a_message_names_the_version_and_the_command_that_answers_it(notifications_after, word, commands):
    outcome = RetrainingOutcome(End(word), ("beats the base",), "classifier/6", inputs={"champion": "classifier/5"})
    titles, (notification,) = notifications_after(outcome)
    assert titles == [f"classifier/6: {word}"]
    assert notification["message"].startswith("beats the base\n")
    assert all(command in notification["message"] for command in commands)


def test_whoever_hears_that_a_version_was_held_hears_what_the_champion_had_to_forget(notifications_after):
    inputs = {"champion": "classifier/5", "forgotten_rows": 2}
    _, notifications = notifications_after(RetrainingOutcome(End.HELD, ("a tie",), "classifier/6", inputs=inputs))
    (notification,) = notifications
    assert "classifier/5 learned from 2 rows that are suppressed now, and still serves" in notification["message"]
    assert (
        "suppressed"
        not in notifications_after(
            RetrainingOutcome(End.HELD, ("a tie",), "classifier/6", inputs={"champion": "classifier/5"})
        )[1][0]["message"]
    )


def test_the_first_champion_has_nobody_to_go_back_to(notifications_after):
    _, (notification,) = notifications_after(
        RetrainingOutcome(End.PROMOTED, ("beats the base",), "classifier/1", inputs={"champion": None})
    )
    assert notification["message"] == "beats the base"


@pytest.mark.parametrize(
    ("decision", "title", "command"),
    [
        (Decision(True, ("beats both",), champion="classifier/5"), "promoted", "goes back to classifier/5"),
        (Decision(False, ("beats both",), awaiting=True), "awaiting", "retune approve classifier/6"),
    ],
)
def test_of_a_run_by_hand_others_hear_who_made_another_champion_or_asks_for_one(
    notifications_after_run, decision, title, command
):
    (notification,) = notifications_after_run(Outcome(SIXTH, True, decision))
    assert notification["title"] == f"classifier/6: {title}"
    assert notification["message"].startswith("classifier/6 was made with `retune run` by A <a@b>:\nbeats both\n")
    assert command in notification["message"]


def test_others_hear_nothing_of_a_run_by_hand_that_changes_nothing_for_them(notifications_after_run):
    assert notifications_after_run(Outcome(SIXTH, True, Decision(False, ("not better",)))) == []
    assert notifications_after_run(Outcome(SIXTH, False, Decision(True, ("beats both",)))) == [], (
        "it was champion before"
    )


@pytest.fixture
def notifications_without_history(notifications_after, monkeypatch):
    """A clone whose history has lost the entry of its champion, the last one; returns what people were told."""
    _, notifications = notifications_after()
    shutil.copy(ROOT / "params.yaml", ".")
    monkeypatch.setattr(outcome_report, "create_markdown_artifact", lambda *_, **__: None)
    monkeypatch.setattr(run_context, "prefect_run", lambda: "run")
    monkeypatch.setattr(retrain, "get_run_logger", lambda: logging.getLogger("retrain"))
    objects = {}
    monkeypatch.setattr(versions, "heads", lambda: objects)
    monkeypatch.setattr(recovery, "runs", lambda _: [])
    for name in ("classifier", "writer"):
        entry = history.append_decision(name, ["nothing to do"], {}, lambda _: None)
        objects[name] = entry.head
        subprocess.run(["git", "tag", "-d", entry.tag], check=True)
    return notifications


def test_a_retraining_on_a_history_that_has_lost_entries_fails_and_is_told(notifications_without_history, caplog):
    with pytest.raises(Refused, match="the history of classifier is not whole: the registry knows entry 1"):
        retrain.retrain_and_report(None)
    (notification,) = notifications_without_history
    assert notification["title"] == "classifier: failed" and "`git fetch --tags`" in notification["message"]
    assert history.names() == []
    assert "repaired: " not in caplog.text
    assert "the failure could not be recorded" in caplog.text


def test_of_several_models_each_is_told_of_whose_history_takes_no_entry(notifications_without_history, monkeypatch):
    Path("params.yaml").write_text("notify: {}")
    monkeypatch.setattr(history, "names", lambda: ["classifier", "writer"])
    with pytest.raises(Broken, match=r"(?s)history of classifier is not whole.*history of writer is not whole"):
        outcome_report.record_failure(outcome_of("failed"))
    assert [notification["title"] for notification in notifications_without_history] == [
        "classifier: failed",
        "writer: failed",
    ]


def test_a_message_says_what_the_data_did(notifications_after):
    data = "90 of 102 rows kept; drift of labels bills"
    _, notifications = notifications_after(RetrainingOutcome(End.HELD, ("it ties",), "classifier/6", data=data))
    assert f"The data: {data}." in notifications[0]["message"].splitlines()
    assert f"The data: {data}." in outcome_report.page("classifier", RetrainingOutcome(End.HELD, (), data=data))
