"""Retrainings that were killed, on a real Prefect server that no worker asks; people hear of it through a real one."""

import os
import subprocess

import pytest

from flows.execution import prefect_api
from flows.scheduling import run_hygiene
from retune.lineage import history
from retune.lineage.entry_facts import Fact
from retune.system import files, process_identity
from tasks import notify
from tests.support.git_repo import init_repository

pytestmark = pytest.mark.slow


@pytest.fixture
def deployed_flow(tmp_path, monkeypatch, prefect_url, webhook):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.scheduling import deployments

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    monkeypatch.setenv(notify.VARIABLE, f"json://127.0.0.1:{webhook[0]}")
    monkeypatch.setenv("RETUNE_POOL", tmp_path.name)
    init_repository(tmp_path)
    with temporary_settings({PREFECT_API_URL: prefect_url}):
        deployments.set_("0 2 * * *", "UTC", 2)
        yield prefect_api.deployment("retrain")


@pytest.fixture
def begin_flow_run(deployed_flow):
    """Begins a retraining and takes it through these states; its process was killed."""
    dead_process = subprocess.Popen(["sleep", "60"])
    whose = process_identity.name(dead_process.pid)
    dead_process.kill()
    dead_process.wait(30)

    def begin(*states, **parameters):
        request = {"state": {"type": "SCHEDULED"}, "parameters": parameters}
        run = prefect_api.ask("POST", f"/deployments/{deployed_flow['id']}/create_flow_run", request)
        files.write_text(run_hygiene._signatures() / run["id"], whose)
        for kind in states:
            state = {"type": kind, "name": kind.capitalize(), "message": "exited with non-zero status code -9"}
            prefect_api.ask("POST", f"/flow_runs/{run['id']}/set_state", {"state": state, "force": True})
        return run

    return begin


def state(run):
    return prefect_api.ask("GET", f"/flow_runs/{run['id']}")["state_type"]


def test_a_retraining_that_was_killed_is_told_once_and_what_to_do(begin_flow_run, webhook):
    run = begin_flow_run("RUNNING", because="labels of March")
    assert any("closed" in notification for notification in run_hygiene.Reconciler().tidy()) and state(run) == "CRASHED"
    run_hygiene.Reconciler().tidy()
    (notification,) = webhook[1]
    assert notification["title"] == f"Retraining has crashed: {run['name']}" and notification["type"] == "failure"
    for words in ("has died: zombie: its process", "labels of March", "where it stopped", "`retune schedule request"):
        assert words in notification["message"]


def test_one_that_the_worker_has_seen_die_is_told_too(begin_flow_run, webhook):
    begin_flow_run("RUNNING", "CRASHED")
    assert any("crashed; alert sent" in notification for notification in run_hygiene.Reconciler().tidy())
    (notification,) = webhook[1]
    assert "status code -9" in notification["message"] and "no stated reason" in notification["message"]


def test_nobody_hears_of_one_that_was_cancelled_or_only_looked_or_had_told_it_itself(begin_flow_run, webhook):
    cancelled, ended = begin_flow_run("RUNNING", "CANCELLING"), begin_flow_run("RUNNING", "CANCELLED")
    begin_flow_run("RUNNING", "CRASHED", dry_run=True)
    flow_run = begin_flow_run("RUNNING", "CRASHED")
    facts = {Fact.DECISION: "failed", Fact.RUN: flow_run["id"]}
    history.append_decision("classifier", ["the desk is on fire"], facts, lambda entry: None)
    run_hygiene.Reconciler().tidy()
    assert webhook[1] == [] and (state(cancelled), state(ended)) == ("CANCELLED", "CANCELLED")


def test_where_nobody_can_be_told_it_is_left_to_who_can(begin_flow_run, webhook, monkeypatch):
    begin_flow_run("RUNNING", "CRASHED")
    channel = os.environ.pop(notify.VARIABLE)
    run_hygiene.Reconciler().tidy()
    monkeypatch.setenv(notify.VARIABLE, channel)
    run_hygiene.Reconciler().tidy()
    assert len(webhook[1]) == 1


def test_one_of_which_nobody_heard_is_tried_once_by_each_until_somebody_does(begin_flow_run):
    run, callers = begin_flow_run("RUNNING", "CRASHED"), []

    def tidier(is_heard):
        return run_hygiene.Reconciler(lambda event, title, body: callers.append(is_heard) or is_heard)

    worker = tidier(is_heard=False)
    assert f"{run['name']}: crashed; no channel took the alert" in worker.tidy()
    worker.tidy()
    assert callers == [False], "the channel is away: it is not asked every ten seconds"
    tidier(is_heard=True).tidy()
    tidier(is_heard=True).tidy()
    assert callers == [False, True]
