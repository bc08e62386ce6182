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

ROOT = Path(__file__).parents[3]
EVENTS = ["promoted", "held", "refused", "failed", "recovered", "unhealthy", "awaiting"]
SIXTH = Version("classifier", 6, "run-6", "now", (), {})
GONE = {"crm": "CRM_URL is not set"}


@pytest.fixture
def after(tmp_path, monkeypatch, webhook):
    """Enters outcomes of one run after another; returns the titles of what people were told, and all of it."""
    port, taken = webhook
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(notify.VARIABLE, f"json://127.0.0.1:{port}")
    author = ["-c", "user.name=A", "-c", "user.email=a@b"]
    for words in (["init", "-q"], [*author, "commit", "-q", "--allow-empty", "-m", "start"]):
        subprocess.run(["git", *words], check=True)

    def enter(*outcomes, run="run"):
        del taken[:]
        for told in outcomes:
            outcome_report.append_to_history("classifier", told, run, Notify(EVENTS, 20.0), lambda entry: None)
        return [said["title"] for said in taken], taken

    return enter


@pytest.fixture
def ran(after, monkeypatch):
    """Tells of a run by hand; returns what others heard."""
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "A")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "a@b")
    _, taken = after()

    def run(outcome):
        outcome_report.notify_manual_run(outcome, Notify(EVENTS, 20.0))
        return taken

    return run


def told(word, failures=None, version=None):
    return RetrainingOutcome(End(word), ("why not",), version, failures=failures)


@pytest.mark.parametrize("word", ["promoted", "held", "awaiting", "refused", "failed"])
def test_a_source_that_failed_is_told_in_every_outcome(after, word):
    titles, taken = after(told("train", GONE), told(word, GONE, "classifier/2"))
    assert titles.count("classifier: a source failed") == 1 and len(titles) == 2, titles
    assert all("the source crm failed: CRM_URL is not set" in said["message"] for said in taken)
    for entry in history.read("classifier").entries:
        assert "the source crm failed: CRM_URL is not set" in entry.why
        assert entry.retraining.failures == GONE
    assert "- crm: CRM_URL is not set" in outcome_report.page("classifier", told(word, GONE))


def test_it_is_told_when_there_is_nothing_to_do_too(after):
    assert after(told("nothing to do", GONE))[0] == ["classifier: a source failed"]
    assert history.read("classifier").last.why == ("why not", "the source crm failed: CRM_URL is not set")


def test_while_a_source_fails_nothing_has_recovered_and_then_it_has(after):
    assert after(told("failed"), told("train", GONE), told("held", GONE))[0] == [
        "classifier: failed",
        "classifier: a source failed",
        "classifier: held",
    ]
    assert after(told("nothing to do", GONE))[0] == ["classifier: a source failed"]
    assert after(told("train"), told("promoted", version="classifier/2"))[0] == [
        "classifier: recovered",
        "classifier/2: promoted",
    ]
    assert after(told("nothing to do"))[0] == []


@pytest.mark.parametrize(
    ("word", "commands"),
    [
        ("awaiting", ["retune approve classifier/6 --reason TEXT", "retune reject classifier/6 --reason TEXT"]),
        ("held", ["retune promote classifier/6 --reason TEXT"]),
        ("failed", ["next retraining finishes classifier/6 first", "retune promote classifier/6 --reason TEXT"]),
        ("promoted", ["retune rollback classifier --reason TEXT` goes back to classifier/5"]),
    ],
)
def test_a_message_names_the_version_and_the_command_that_answers_it(after, word, commands):
    made = RetrainingOutcome(End(word), ("beats the base",), "classifier/6", inputs={"champion": "classifier/5"})
    titles, (said,) = after(made)
    assert titles == [f"classifier/6: {word}"]
    assert said["message"].startswith("beats the base\n")
    assert all(command in said["message"] for command in commands)


def test_whoever_hears_that_a_version_was_held_hears_what_the_champion_had_to_forget(after):
    inputs = {"champion": "classifier/5", "forgotten_rows": 2}
    _, taken = after(RetrainingOutcome(End.HELD, ("a tie",), "classifier/6", inputs=inputs))
    (said,) = taken
    assert "classifier/5 learned from 2 rows that are suppressed now, and still serves" in said["message"]
    assert (
        "suppressed"
        not in after(RetrainingOutcome(End.HELD, ("a tie",), "classifier/6", inputs={"champion": "classifier/5"}))[1][
            0
        ]["message"]
    )


def test_the_first_champion_has_nobody_to_go_back_to(after):
    _, (said,) = after(RetrainingOutcome(End.PROMOTED, ("beats the base",), "classifier/1", inputs={"champion": None}))
    assert said["message"] == "beats the base"


@pytest.mark.parametrize(
    ("decision", "title", "command"),
    [
        (Decision(True, ("beats both",), champion="classifier/5"), "promoted", "goes back to classifier/5"),
        (Decision(False, ("beats both",), awaiting=True), "awaiting", "retune approve classifier/6"),
    ],
)
def test_of_a_run_by_hand_others_hear_who_made_another_champion_or_asks_for_one(ran, decision, title, command):
    (said,) = ran(Outcome(SIXTH, True, decision))
    assert said["title"] == f"classifier/6: {title}"
    assert said["message"].startswith("classifier/6 was made with `retune run` by A <a@b>:\nbeats both\n")
    assert command in said["message"]


def test_others_hear_nothing_of_a_run_by_hand_that_changes_nothing_for_them(ran):
    assert ran(Outcome(SIXTH, True, Decision(False, ("not better",)))) == []
    assert ran(Outcome(SIXTH, False, Decision(True, ("beats both",)))) == [], "it was champion before"


# ---------------------------------------------------------------- where the history takes no entry


@pytest.fixture
def beheaded(after, monkeypatch):
    """A clone whose history has lost the entry of its champion, the last one; returns what people were told."""
    _, taken = after()
    shutil.copy(ROOT / "params.yaml", ".")
    monkeypatch.setattr(outcome_report, "create_markdown_artifact", lambda *_, **__: None)
    monkeypatch.setattr(run_context, "prefect_run", lambda: "run")
    monkeypatch.setattr(retrain, "get_run_logger", lambda: logging.getLogger("retrain"))
    kept = {}
    monkeypatch.setattr(versions, "heads", lambda: kept)
    monkeypatch.setattr(recovery, "runs", lambda _: [])
    for name in ("classifier", "writer"):
        entry = history.append_decision(name, ["nothing to do"], {}, lambda _: None)
        kept[name] = entry.head
        subprocess.run(["git", "tag", "-d", entry.tag], check=True)
    return taken


def test_a_retraining_on_a_history_that_has_lost_entries_fails_and_is_told(beheaded, caplog):
    with pytest.raises(Refused, match="the history of classifier is not whole: the registry knows entry 1"):
        retrain.retrain_and_report(None)
    (said,) = beheaded
    assert said["title"] == "classifier: failed" and "`git fetch --tags`" in said["message"]
    assert history.names() == []
    assert "repaired: " not in caplog.text
    assert "the failure could not be recorded" in caplog.text


def test_of_several_models_each_is_told_of_whose_history_takes_no_entry(beheaded, monkeypatch):
    Path("params.yaml").write_text("notify: {}")
    monkeypatch.setattr(history, "names", lambda: ["classifier", "writer"])
    with pytest.raises(Broken, match=r"(?s)history of classifier is not whole.*history of writer is not whole"):
        outcome_report.record_failure(told("failed"))
    assert [said["title"] for said in beheaded] == ["classifier: failed", "writer: failed"]
