"""The dead-man's switch on a real Prefect server that no worker asks, beside the history of a clone."""

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.execution import prefect_api
from flows.scheduling import crash_alerts, deployments, health, run_hygiene
from flows.services import doctor
from retune.lineage import history
from retune.lineage.entry_facts import Fact
from tasks import notify

FAR = datetime.now(UTC) + timedelta(days=30)


@pytest.fixture
def in_clone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    author = ["-c", "user.name=A", "-c", "user.email=a@b"]
    for words in (["init", "-q"], [*author, "commit", "-q", "--allow-empty", "-m", "start"]):
        subprocess.run(["git", *words], check=True)


def test_where_no_server_is_known_a_watch_by_cron_is_not_well_and_says_what_to_set(clone):
    done = clone.retune("schedule", "health")
    assert done.returncode == 1 and "PREFECT_API_URL" in done.stdout, done.stdout
    assert "Traceback" not in done.stderr
    told = json.loads(clone.retune("schedule", "health", "--json").stdout)
    assert (told["ok"], told["kind"]) == (False, "unknown")


def test_a_clone_without_a_schedule_is_a_sound_installation(in_clone):
    assert doctor._schedule()[0]


@pytest.mark.slow
def test_a_retraining_by_hand_ends_a_silence_once_it_is_approved_and_none_in_which_a_source_failed(
    in_clone, prefect_url, monkeypatch
):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    def by_hand(days, **more):
        facts = {Fact.DECISION: "held", **more}
        return history.append_decision("classifier", ["why"], facts, lambda entry: None, FAR - timedelta(days=days))

    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    assert health.check_health().kind == "unscheduled"
    assert "schedule set" in health.check_health().mend and doctor._schedule()[0]
    with temporary_settings({PREFECT_API_URL: prefect_url}):
        deployments.set_("0 2 * * *", "UTC", 2)
    assert health.check_health().ok
    assert health.check_health(FAR).kind == "worker" and "nothing has succeeded yet" in health.check_health(FAR).words
    assert health.check_health().succeeded is None
    by_hand(20)
    assert health.check_health(FAR).succeeded == (FAR - timedelta(days=20)).isoformat(timespec="seconds")
    by_hand(2, **{Fact.FAILED_SOURCES: '{"crm": "CRM_URL is not set"}'})
    assert not health.check_health(FAR).ok and f"{FAR - timedelta(days=20):%Y-%m-%d}" in health.check_health(FAR).words
    asked = by_hand(1, **{Fact.DECISION: "awaiting", Fact.ABOUT: "classifier/7"})
    assert not health.check_health(FAR).ok, "a candidate waits for a person"
    facts = {"Record": asked.commit}
    history.append("classifier", 7, history.APPROVED, ["fine"], facts, lambda entry: None, FAR - timedelta(hours=9))
    assert health.check_health(FAR).ok


@pytest.fixture
def scheduled(in_clone, tmp_path, prefect_url, monkeypatch):
    """The deployment of a schedule that no worker serves."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    monkeypatch.setenv("RETUNE_POOL", tmp_path.name)
    with temporary_settings({PREFECT_API_URL: prefect_url}):
        deployments.set_("0 2 * * *", "UTC", 2)
        yield prefect_api.deployment("retrain")


def test_a_deployment_of_an_earlier_version_is_noticed_with_the_command_that_deploys_it_again(scheduled):
    assert deployments.outdated() == ""
    earlier = {"command": "sh -c 'exec python -m flows.schedules.start'"}
    prefect_api.ask("PATCH", f"/deployments/{scheduled['id']}", {"job_variables": earlier})
    report = health.check_health()
    assert (report.ok, report.kind) == (False, "outdated")
    assert report.mend == 'run `retune schedule set "0 2 * * *" --timezone UTC` again'
    assert deployments.outdated().endswith("again")


@pytest.fixture
def due(scheduled):
    """Makes a run that is due at a time, and takes it through these states."""

    def due(when, *states):
        scheduled_at = {"type": "SCHEDULED", "state_details": {"scheduled_time": when.isoformat()}}
        run = prefect_api.ask("POST", f"/deployments/{scheduled['id']}/create_flow_run", {"state": scheduled_at})
        for kind, name in states:
            told = {"state": {"type": kind, "name": name, "message": "on fire"}, "force": True}
            prefect_api.ask("POST", f"/flow_runs/{run['id']}/set_state", told)
        return prefect_api.ask("GET", f"/flow_runs/{run['id']}")

    return due


RUNNING, FAILED, AGAIN = ("RUNNING", "Running"), ("FAILED", "Failed"), ("SCHEDULED", "AwaitingConcurrencySlot")


@pytest.mark.slow
def test_a_run_that_goes_on_after_an_answer_gives_way_to_none_and_none_gives_way_to_it(scheduled, due):
    now = datetime.now(UTC)
    answered = due(now - timedelta(minutes=30), RUNNING, AGAIN)
    assert (answered["run_count"], answered["state_name"]) == (1, "AwaitingConcurrencySlot")
    late = due(now - timedelta(minutes=40))
    assert run_hygiene.supersede(late) is None, "the other goes on with its version, and looks at nothing new"
    newest = due(now - timedelta(minutes=1))
    assert [run["id"] for run in run_hygiene.waiting(scheduled)] == [newest["id"], answered["id"], late["id"]]
    assert [run["id"] for run in run_hygiene.cancel_superseded(scheduled)] == [late["id"]]


@pytest.mark.slow
def test_the_newest_period_counts_once_its_run_has_failed_and_until_then_it_may_succeed(scheduled, due):
    newest, before, succeeded = health._due(next(iter(scheduled["schedules"])), FAR, 3)
    history.append_decision("classifier", ["why"], {Fact.DECISION: "nothing to do"}, lambda entry: None, succeeded)
    due(before, RUNNING, FAILED)
    assert health.check_health(FAR).ok, "its run has only just been due"
    rehearsal = {"type": "SCHEDULED", "state_details": {"scheduled_time": newest.isoformat()}}
    body = {"state": rehearsal, "parameters": {"dry_run": True}}
    run = prefect_api.ask("POST", f"/deployments/{scheduled['id']}/create_flow_run", body)
    prefect_api.ask("POST", f"/flow_runs/{run['id']}/set_state", {"state": {"type": "FAILED"}, "force": True})
    due(newest, RUNNING)
    assert health.check_health(FAR).ok, "it is at work"
    due(newest + timedelta(minutes=1), RUNNING, FAILED)
    found = health.check_health(FAR)
    assert not found.ok and "for 2 periods" in found.words
    assert health.check_health(newest).ok and not health.check_health(FAR + timedelta(days=1)).ok
    history.append_decision("classifier", ["why"], {Fact.DECISION: "held"}, lambda entry: None, newest)
    assert health.check_health(FAR).ok


def test_a_wrong_params_yaml_does_not_keep_a_silence_from_being_told_and_is_told_with_it(
    in_clone, webhook, monkeypatch
):
    port, taken = webhook
    monkeypatch.setenv(notify.VARIABLE, f"json://127.0.0.1:{port}")
    shipped = (Path(__file__).parents[3] / "params.yaml").read_text("utf-8")
    Path("params.yaml").write_text(shipped.replace("margin_over_base: ", "margin_over_base: -"))
    assert not health.check_and_notify(crash_alerts.tell).ok
    assert "Prefect server" in taken[0]["message"] and "promote.margin_over_base is -0" in taken[0]["message"]
    health.check_and_notify(crash_alerts.tell)
    assert len(taken) == 1, "a silence is told once"


def test_what_no_channel_took_is_told_at_the_next_look_and_a_watch_without_a_channel_says_so(own_clone, webhook):
    port, taken = webhook

    def look(*addresses):
        own_clone.env["RETUNE_NOTIFY_URLS"] = " ".join(addresses)
        done = own_clone.retune("schedule", "health", "--tell", "--json")
        assert (done.returncode, json.loads(done.stdout)["kind"]) == (1, "unknown")
        return done.stderr

    nobody = "no one is notified: neither RETUNE_NOTIFY_URLS nor RETUNE_NOTIFY_BLOCKS names a channel"
    away, well = f"json://127.0.0.1:{port}/no/", f"json://127.0.0.1:{port}"
    assert nobody in look() and nobody not in own_clone.retune("schedule", "health").stderr
    assert "channel 1 (json) did not take the message" in look(away) and taken == []
    assert "channel 1 (json) did not take the message" in look(away, well) and len(taken) == 1
    assert look(away, well) == "" and len(taken) == 1, "told on one channel is told"


@pytest.fixture
def look(in_clone, monkeypatch):
    """Looks once, and finds what it is given; returns the titles of all that was told so far."""
    told = []

    def look(kind, success=None, heard=True):
        """`success`: how many seconds ago a retraining has succeeded; `heard`: whether a channel takes the message."""
        at = success is not None and (datetime.now(UTC) - timedelta(seconds=success)).isoformat()
        found = health.ScheduleHealth(kind == "ok", kind, f"it is {kind}", "", at or None)
        monkeypatch.setattr(health, "check_health", lambda: found)
        health.check_and_notify(lambda event, title, body: told.append(title.removeprefix("Retraining ")) or heard)
        return told

    return look


SILENT, RECOVERED, WATCHED = "has fallen silent", "has recovered", "is watched again"


def test_a_silence_is_told_once_and_so_is_its_end(look):
    for kind in ("ok", "failed", "failed", "late", "running", "failed", "late", "running", "failed"):
        look(kind, 3600)
    assert look("failed", 3600) == [SILENT] * 3, "each cause once"
    assert look("ok", 0) == [SILENT] * 3 + [RECOVERED]
    assert look("failed", 3600)[4:] == [SILENT], "another silence"


def test_what_nobody_heard_is_told_again(look):
    look("worker", heard=False)
    assert look("worker") == look("worker") == [SILENT, SILENT]
    look("ok", 0, heard=False)
    assert look("ok", 0) == look("ok", 0) == [SILENT, SILENT, RECOVERED, RECOVERED]
    look("server", heard=False)
    look("server")
    look("ok", heard=False)
    assert look("ok") == look("ok") == [SILENT, SILENT, RECOVERED, RECOVERED, SILENT, SILENT, WATCHED, WATCHED]


def test_only_a_success_after_a_silence_ends_it_and_no_schedule_that_is_set_anew(look):
    look("failed", 3600)
    look("ok", 3600)
    assert look("ok") == [SILENT], "nothing has succeeded since"
    assert look("failed", 3600) == [SILENT, SILENT], "it was asked anew, and is silent anew"
    assert look("ok", 0) == [SILENT, SILENT, RECOVERED]


def test_a_server_that_answers_again_is_no_retraining_that_has_recovered(look):
    look("server")
    assert look("ok", 3600) == [SILENT, WATCHED]
    look("failed", 3600)
    look("server")
    assert look("ok", 3600)[2:] == [SILENT, SILENT], "what had been silent before still is"
    assert look("ok", 0)[4:] == [RECOVERED]
