"""Retrainings that sleep until a person has answered, on a real Prefect server, beside a real registry and history."""

import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from flows.execution import prefect_api
from flows.scheduling import health, resume_approved
from retune.config import params
from retune.lineage import history, record
from retune.lineage.entry_facts import End, RetrainingFacts
from retune.registry import versions
from tasks.promote import approval, gate_decision
from tests.support.environment import ROOT
from tests.support.git_repo import init_repository

pytestmark = pytest.mark.slow
FAR = datetime.now(UTC) + timedelta(days=30)


@pytest.fixture
def deployment(tmp_path, monkeypatch, prefect_url, register_tiny):
    """A schedule that no worker serves, in a clone whose second version waits for an answer."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.scheduling import deployments

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    monkeypatch.setenv("RETUNE_POOL", tmp_path.name)
    init_repository(tmp_path)
    shipped = params.load(ROOT / "params.yaml").promote
    for champion, section in ((None, shipped), ("m/1", replace(shipped, approval=True))):
        version = register_tiny("m", champion=champion)
        gate_decision.promote(version, record.read(versions.version_folder(version) / record.FILE), section)
    with temporary_settings({PREFECT_API_URL: prefect_url}):
        deployments.set_("0 2 * * *", "UTC", 2)
        yield prefect_api.deployment("retrain")


@pytest.fixture
def sleeping_run(deployment):
    """Begins a retraining that sleeps for the second version."""

    def begin():
        run = prefect_api.ask(
            "POST", f"/deployments/{deployment['id']}/create_flow_run", {"state": {"type": "SCHEDULED"}}
        )
        suspended = {"name": "Suspended", "state_details": {"pause_reschedule": True}}
        for state in ({"type": "RUNNING"}, {"type": "PAUSED", **suspended}):
            prefect_api.ask("POST", f"/flow_runs/{run['id']}/set_state", {"state": state, "force": True})
        facts = RetrainingFacts(End.AWAITING, "m/2", run["id"], inputs={}, thresholds={}, failures={}).format()
        history.append_decision("m", ["better"], facts, lambda entry: None)
        approval.await_approval(versions.find("m", version=2), run["id"])
        return run

    return begin


def answer():
    approval.approve(approval.read_evidence(versions.find("m", version=2), None), "fine", lambda _: {"Checked": "fine"})


def state(run):
    return prefect_api.ask("GET", f"/flow_runs/{run['id']}")["state"]


def test_the_watch_says_which_version_waits_and_how_to_answer_and_no_more_once_somebody_has(sleeping_run):
    run = sleeping_run()
    finding = health.check_health(FAR)
    assert finding.kind == "waiting" and f"{run['name']} since" in finding.words and "m/2" in finding.words
    assert finding.mend == "`retune approve m/2 --reason TEXT` or `retune reject m/2 --reason TEXT`"
    answer()
    assert health._why_at_work(prefect_api.deployment("retrain")) is None


def test_a_run_that_sleeps_for_no_version_of_this_registry_is_said_to(deployment, sleeping_run):
    run = sleeping_run()
    approval.await_approval(versions.find("m", version=2), "another")
    for tag in subprocess.run(["git", "tag"], capture_output=True, text=True).stdout.split():
        subprocess.run(["git", "tag", "-d", tag], check=True, capture_output=True)
    kind, words, mend = health._why_at_work(deployment)
    assert (kind, mend) == ("waiting", "resume or cancel it in Prefect") and run["name"] in words


def test_a_run_whose_answer_was_given_while_the_server_was_away_is_woken_and_one_that_waits_is_not(sleeping_run):
    run, waker = sleeping_run(), resume_approved.Waker()
    assert waker.wake() == waker.wake() == [] and state(run)["type"] == "PAUSED"
    answer()
    assert waker.wake() == [], "who has just answered wakes it"
    assert waker.wake() == [f"{run['name']}: m/2 has its answer; resumed"]
    assert state(run)["type"] == "SCHEDULED"
    assert waker.wake() == []


def test_of_two_that_sleep_for_one_version_the_later_goes_on_and_the_other_ends(sleeping_run):
    first, second, waker = sleeping_run(), sleeping_run(), resume_approved.Waker()
    answer()
    waker.wake()
    assert len(waker.wake()) == 2
    assert state(second)["type"] == "SCHEDULED"
    assert state(first)["type"] == "CANCELLED" and state(first)["message"].startswith("m/2, which it waited for, has")
