"""The dead-man's switch on a real Prefect server that no worker asks, beside the history of a clone."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.execution import prefect_api
from flows.scheduling import crash_alerts, deployments, health, run_hygiene
from flows.services import doctor
from retune.lineage import history
from retune.lineage.entry_facts import Fact
from tasks import notify
from tests.support.environment import ROOT
from tests.support.git_repo import init_repository

FAR = datetime.now(UTC) + timedelta(days=30)


@pytest.fixture
def in_git_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    init_repository(tmp_path)


def test_where_no_server_is_known_a_watch_by_cron_is_not_well_and_says_what_to_set(clone):
    done = clone.retune("schedule", "health")
    assert done.returncode == 1 and "PREFECT_API_URL" in done.stdout, done.stdout
    assert done.stdout.startswith("unknown: this clone knows no Prefect server")
    assert "Traceback" not in done.stderr
    findings = json.loads(clone.retune("schedule", "health", "--json").stdout)
    assert (findings["ok"], findings["kind"]) == (False, "unknown")


def test_a_clone_without_a_schedule_is_a_sound_installation(in_git_repository):
    assert doctor._schedule()[0]


@pytest.mark.slow
def test_a_retraining_by_hand_ends_a_silence_once_it_is_approved_and_none_in_which_a_source_failed(
    in_git_repository, prefect_url, monkeypatch
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
    request = by_hand(1, **{Fact.DECISION: "awaiting", Fact.ABOUT: "classifier/7"})
    assert not health.check_health(FAR).ok, "a candidate waits for a person"
    facts = {"Record": request.commit}
    history.append("classifier", 7, history.APPROVED, ["fine"], facts, lambda entry: None, FAR - timedelta(hours=9))
    assert health.check_health(FAR).ok


@pytest.fixture
def scheduled_deployment(in_git_repository, tmp_path, prefect_url, monkeypatch):
    """The deployment of a schedule that no worker serves."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    monkeypatch.setenv("RETUNE_POOL", tmp_path.name)
    with temporary_settings({PREFECT_API_URL: prefect_url}):
        deployments.set_("0 2 * * *", "UTC", 2)
        yield prefect_api.deployment("retrain")


def test_a_deployment_of_an_earlier_version_is_noticed_with_the_command_that_deploys_it_again(scheduled_deployment):
    assert deployments.outdated() == ""
    earlier = {"command": "sh -c 'exec python -m flows.schedules.start'"}
    prefect_api.ask("PATCH", f"/deployments/{scheduled_deployment['id']}", {"job_variables": earlier})
    report = health.check_health()
    assert (report.ok, report.kind) == (False, "outdated")
    assert report.mend == 'run `retune schedule set "0 2 * * *" --timezone UTC` again'
    assert deployments.outdated().endswith("again")


@pytest.fixture
def due_run(scheduled_deployment):
    """Makes a run that is due at a time, and takes it through these states."""

    def due(when, *states):
        scheduled_at = {"type": "SCHEDULED", "state_details": {"scheduled_time": when.isoformat()}}
        run = prefect_api.ask(
            "POST", f"/deployments/{scheduled_deployment['id']}/create_flow_run", {"state": scheduled_at}
        )
        for kind, name in states:
            state = {"state": {"type": kind, "name": name, "message": "on fire"}, "force": True}
            prefect_api.ask("POST", f"/flow_runs/{run['id']}/set_state", state)
        return prefect_api.ask("GET", f"/flow_runs/{run['id']}")

    return due


RUNNING, FAILED, AGAIN = ("RUNNING", "Running"), ("FAILED", "Failed"), ("SCHEDULED", "AwaitingConcurrencySlot")


@pytest.mark.slow
def test_a_run_that_goes_on_after_an_answer_gives_way_to_none_and_none_gives_way_to_it(scheduled_deployment, due_run):
    now = datetime.now(UTC)
    answered = due_run(now - timedelta(minutes=30), RUNNING, AGAIN)
    assert (answered["run_count"], answered["state_name"]) == (1, "AwaitingConcurrencySlot")
    late = due_run(now - timedelta(minutes=40))
    assert run_hygiene.supersede(late) is None, "the other goes on with its version, and looks at nothing new"
    newest = due_run(now - timedelta(minutes=1))
    assert [run["id"] for run in run_hygiene.waiting(scheduled_deployment)] == [
        newest["id"],
        answered["id"],
        late["id"],
    ]
    assert [run["id"] for run in run_hygiene.cancel_superseded(scheduled_deployment)] == [late["id"]]


@pytest.mark.slow
def test_the_newest_period_counts_once_its_run_has_failed_and_until_then_it_may_succeed(scheduled_deployment, due_run):
    newest, before, succeeded = health._due(next(iter(scheduled_deployment["schedules"])), FAR, 3)
    history.append_decision("classifier", ["why"], {Fact.DECISION: "nothing to do"}, lambda entry: None, succeeded)
    due_run(before, RUNNING, FAILED)
    assert health.check_health(FAR).ok, "its run has only just been due"
    rehearsal = {"type": "SCHEDULED", "state_details": {"scheduled_time": newest.isoformat()}}
    body = {"state": rehearsal, "parameters": {"dry_run": True}}
    run = prefect_api.ask("POST", f"/deployments/{scheduled_deployment['id']}/create_flow_run", body)
    prefect_api.ask("POST", f"/flow_runs/{run['id']}/set_state", {"state": {"type": "FAILED"}, "force": True})
    due_run(newest, RUNNING)
    assert health.check_health(FAR).ok, "it is at work"
    due_run(newest + timedelta(minutes=1), RUNNING, FAILED)
    finding = health.check_health(FAR)
    assert not finding.ok and "for 2 periods" in finding.words
    assert health.check_health(newest).ok and not health.check_health(FAR + timedelta(days=1)).ok
    history.append_decision("classifier", ["why"], {Fact.DECISION: "held"}, lambda entry: None, newest)
    assert health.check_health(FAR).ok


def test_a_wrong_params_yaml_does_not_keep_a_silence_from_being_told_and_is_told_with_it(
    in_git_repository, webhook, monkeypatch
):
    port, notifications = webhook
    monkeypatch.setenv(notify.VARIABLE, f"json://127.0.0.1:{port}")
    shipped = (ROOT / "params.yaml").read_text("utf-8")
    Path("params.yaml").write_text(shipped.replace("margin_over_base: ", "margin_over_base: -"))
    assert not health.check_and_notify(crash_alerts.tell).ok
    assert (
        "Prefect server" in notifications[0]["message"]
        and "promote.margin_over_base is -0" in notifications[0]["message"]
    )
    health.check_and_notify(crash_alerts.tell)
    assert len(notifications) == 1, "a silence is told once"


@pytest.mark.slow
def test_what_no_channel_took_is_told_at_the_next_look_and_a_watch_without_a_channel_says_so(own_clone, webhook):
    port, notifications = webhook

    def look(*addresses):
        own_clone.env["RETUNE_NOTIFY_URLS"] = " ".join(addresses)
        done = own_clone.retune("schedule", "health", "--tell", "--json")
        assert (done.returncode, json.loads(done.stdout)["kind"]) == (1, "unknown")
        return done.stderr

    nobody = "no one is notified: neither RETUNE_NOTIFY_URLS nor RETUNE_NOTIFY_BLOCKS names a channel"
    away, well = f"json://127.0.0.1:{port}/no/", f"json://127.0.0.1:{port}"
    assert nobody in look() and nobody not in own_clone.retune("schedule", "health").stderr
    assert "channel 1 (json) did not take the message" in look(away) and notifications == []
    assert "channel 1 (json) did not take the message" in look(away, well) and len(notifications) == 1
    assert look(away, well) == "" and len(notifications) == 1, "told on one channel is told"


@pytest.fixture
def watch_titles(in_git_repository, monkeypatch):
    """Looks once, and finds what it is given; returns the titles of all that was told so far."""
    titles = []

    def look(kind, success=None, is_heard=True):
        """`success`: how many seconds ago a retraining has succeeded; `heard`: whether a channel takes the message."""
        at = success is not None and (datetime.now(UTC) - timedelta(seconds=success)).isoformat()
        finding = health.ScheduleHealth(kind == "ok", kind, f"it is {kind}", "", at or None)
        monkeypatch.setattr(health, "check_health", lambda: finding)
        health.check_and_notify(lambda event, title, body: titles.append(title.removeprefix("Retraining ")) or is_heard)
        return titles

    return look


SILENT, RECOVERED, WATCHED = "has fallen silent", "has recovered", "is watched again"


def test_a_silence_is_told_once_and_so_is_its_end(watch_titles):
    for kind in ("ok", "failed", "failed", "late", "running", "failed", "late", "running", "failed"):
        watch_titles(kind, 3600)
    assert watch_titles("failed", 3600) == [SILENT] * 3, "each cause once"
    assert watch_titles("ok", 0) == [SILENT] * 3 + [RECOVERED]
    assert watch_titles("failed", 3600)[4:] == [SILENT], "another silence"


def test_what_nobody_heard_is_told_again(watch_titles):
    watch_titles("worker", is_heard=False)
    assert watch_titles("worker") == watch_titles("worker") == [SILENT, SILENT]
    watch_titles("ok", 0, is_heard=False)
    assert watch_titles("ok", 0) == watch_titles("ok", 0) == [SILENT, SILENT, RECOVERED, RECOVERED]
    watch_titles("server", is_heard=False)
    watch_titles("server")
    watch_titles("ok", is_heard=False)
    assert (
        watch_titles("ok")
        == watch_titles("ok")
        == [SILENT, SILENT, RECOVERED, RECOVERED, SILENT, SILENT, WATCHED, WATCHED]
    )


def test_only_a_success_after_a_silence_ends_it_and_no_schedule_that_is_set_anew(watch_titles):
    watch_titles("failed", 3600)
    watch_titles("ok", 3600)
    assert watch_titles("ok") == [SILENT], "nothing has succeeded since"
    assert watch_titles("failed", 3600) == [SILENT, SILENT], "it was asked anew, and is silent anew"
    assert watch_titles("ok", 0) == [SILENT, SILENT, RECOVERED]


def test_a_server_that_answers_again_is_no_retraining_that_has_recovered(watch_titles):
    watch_titles("server")
    assert watch_titles("ok", 3600) == [SILENT, WATCHED]
    watch_titles("failed", 3600)
    watch_titles("server")
    assert watch_titles("ok", 3600)[2:] == [SILENT, SILENT], "what had been silent before still is"
    assert watch_titles("ok", 0)[4:] == [RECOVERED]
