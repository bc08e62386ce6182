"""Schedule, requests, workers and the dead-man's switch on a real server, with real kills."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from flows.execution import prefect_api
from flows.scheduling import health
from retune.system import process_identity
from tasks import notify

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def team(make_team, module_webhook):
    team = make_team(before=lambda clone: clone.env.update({notify.VARIABLE: f"json://127.0.0.1:{module_webhook[0]}"}))
    done = team.retune("schedule", "set", "0 2 * * 1", "--timezone", "Europe/Berlin", "--silent-after", 1)
    assert done.returncode == 0, done.stderr
    return team


@pytest.fixture(autouse=True)
def same_server(team, monkeypatch):
    """This process asks the same server, from the same clone."""
    monkeypatch.chdir(team.clone.folder)
    for name, value in team.variables().items():
        monkeypatch.setenv(name, value)
    team.set_behaviour()


@pytest.fixture
def retrain_deployment():
    return prefect_api.deployment("retrain")


def runs_of(retrain_deployment, **criteria):
    return {run["name"]: run for run in prefect_api.of_deployment(retrain_deployment, **criteria)}


def because(retrain_deployment, reason):
    return next(
        (r for r in prefect_api.of_deployment(retrain_deployment) if r["parameters"].get("because") == reason), None
    )


def in_state(retrain_deployment, reason, *states):
    run = because(retrain_deployment, reason)
    return run if run and run["state_name"] in states else None


def kill_worker(team):
    os.kill(team.pid("worker"), signal.SIGKILL)


def of(mailbox, run):
    """What people were told of a run."""
    return [notification for notification in mailbox[1] if notification["title"].endswith(run["name"])]


def flow_process(team, run):
    signature = team.clone.folder / ".retune/running" / run["id"]
    return int(signature.read_text("utf-8").split()[1].partition("@")[0])


def due_ago(retrain_deployment, minutes, **parameters):
    """A run that should have begun some minutes ago, as the schedule would have made it."""
    when = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()
    state = {"type": "SCHEDULED", "name": "Scheduled", "state_details": {"scheduled_time": when}}
    body = {"state": state, "parameters": {**retrain_deployment["parameters"], **parameters}}
    return prefect_api.ask("POST", f"/deployments/{retrain_deployment['id']}/create_flow_run", body)


def test_an_event_from_outside_makes_a_run_in_this_clone_with_this_python(team, retrain_deployment, until):
    """Emitted by another program, as Prefect's own client does it."""
    emit = "from prefect.events import emit_event\nemit_event('retune.requested', {'prefect.resource.id': 'retune'}, "
    emit += "payload={'because': 'labels of March'})"
    env = {**os.environ, "PREFECT_HOME": str(team.clone.folder / ".retune/prefect")}
    subprocess.run([sys.executable, "-c", emit], env=env, check=True, timeout=120)
    run = until(lambda: in_state(retrain_deployment, "labels of March", "Completed"), 120)
    stand_in_run = next(each for each in team.ran() if each["name"] == run["name"])
    assert stand_in_run["cwd"] == str(team.clone.folder) and stand_in_run["python"] == sys.executable
    assert (
        stand_in_run["because"] == "labels of March"
        and stand_in_run["mlflow"] == team.variables()["MLFLOW_TRACKING_URI"]
    )


def test_the_second_of_two_waits_for_its_place(team, retrain_deployment, until):
    team.set_behaviour(20)
    for reason in ("first", "second"):
        assert team.retune("schedule", "request", "--reason", reason).returncode == 0
        until(lambda reason=reason: because(retrain_deployment, reason))
    until(
        lambda: in_state(retrain_deployment, "first", "Running") or in_state(retrain_deployment, "second", "Running"),
        90,
    )
    until(
        lambda: (
            in_state(retrain_deployment, "second", "AwaitingConcurrencySlot")
            or in_state(retrain_deployment, "first", "AwaitingConcurrencySlot")
        )
    )
    team.set_behaviour()
    first, second = (until(lambda r=r: in_state(retrain_deployment, r, "Completed"), 150) for r in ("first", "second"))
    earlier, later = sorted((first, second), key=lambda run: run["start_time"])
    assert prefect_api.time(later["start_time"]) >= prefect_api.time(earlier["end_time"])


def test_a_flow_that_was_killed_is_closed_and_the_next_begins_within_a_minute_and_people_hear_of_it(
    team, retrain_deployment, until, module_webhook
):
    team.set_behaviour(300)
    team.retune("schedule", "request", "--reason", "killed")
    run = until(lambda: in_state(retrain_deployment, "killed", "Running"), 90)
    until(lambda: prefect_api.children(run))
    team.set_behaviour()
    os.kill(flow_process(team, run), signal.SIGKILL)
    team.retune("schedule", "request", "--reason", "after the kill")
    began = time.monotonic()
    until(lambda: in_state(retrain_deployment, "after the kill", "Running", "Completed"), 60)
    assert time.monotonic() - began < 60
    assert until(lambda: in_state(retrain_deployment, "killed", "Crashed"))
    until(lambda: all(child["state_type"] == "CRASHED" for child in prefect_api.children(run)))
    (notification,) = until(lambda: of(module_webhook, run))
    assert "It was started for: killed" in notification["message"]


def test_worker_and_flow_killed_at_once_leave_a_zombie_which_the_next_worker_closes(team, retrain_deployment, until):
    team.set_behaviour(300)
    team.retune("schedule", "request", "--reason", "both killed")
    run = until(lambda: in_state(retrain_deployment, "both killed", "Running"), 90)
    victim = flow_process(team, run)
    kill_worker(team)
    os.kill(victim, signal.SIGKILL)
    team.set_behaviour()
    far = datetime.now(UTC) + timedelta(days=30)
    assert in_state(retrain_deployment, "both killed", "Running")  # nobody has told Prefect
    assert health.check_health(far).kind == "zombie"
    assert health.check_health().ok  # something has succeeded lately
    assert team.retune("up", timeout=400).returncode == 0
    began = time.monotonic()
    team.retune("schedule", "request", "--reason", "after both")
    until(lambda: in_state(retrain_deployment, "after both", "Running", "Completed"), 60)
    assert time.monotonic() - began < 60
    closed = until(lambda: in_state(retrain_deployment, "both killed", "Crashed"))
    assert "zombie" in closed["state"]["message"] and str(victim) in closed["state"]["message"]


def test_a_flow_goes_on_when_its_worker_was_killed(team, retrain_deployment, until):
    team.set_behaviour(30)
    team.retune("schedule", "request", "--reason", "orphan")
    until(lambda: in_state(retrain_deployment, "orphan", "Running"), 90)
    kill_worker(team)
    assert team.retune("up", timeout=400).returncode == 0
    assert until(lambda: in_state(retrain_deployment, "orphan", "Completed"), 120)


def test_a_schedule_stays_active_when_its_worker_stops_and_late_runs_collapse_to_the_newest(
    team, retrain_deployment, until
):
    os.kill(team.pid("worker"), signal.SIGTERM)
    until(lambda: not any(worker["status"] == "ONLINE" for worker in prefect_api.workers()), 150)
    assert "yes" in team.retune("schedule", "list").stdout
    late = [due_ago(retrain_deployment, minutes) for minutes in (180, 120, 60)]
    flow_run = due_ago(retrain_deployment, 150, because="a wish of its own")
    far = datetime.now(UTC) + timedelta(days=30)
    assert health.check_health(far).kind == "worker"
    before = len(team.ran())
    assert team.retune("up", timeout=400).returncode == 0
    until(lambda: in_state(retrain_deployment, "a wish of its own", "Completed"), 150)
    ended = {
        run["id"]: run
        for run in prefect_api.of_deployment(retrain_deployment, **prefect_api.in_states("COMPLETED", "CANCELLED"))
    }
    until(lambda: len(team.ran()) >= before + 2, 120)
    states = [ended.get(run["id"], {}).get("state_type") for run in (*late, flow_run)]
    assert states[:2] == ["CANCELLED", "CANCELLED"] and states[3] == "COMPLETED"
    assert "is newer and does the same" in ended[late[0]["id"]]["state"]["message"]
    until(lambda: prefect_api.ask("GET", f"/flow_runs/{late[2]['id']}")["state_type"] == "COMPLETED", 120)
    assert len(team.ran()) == before + 2


def test_it_says_which_it_is(team, retrain_deployment, until):
    far = datetime.now(UTC) + timedelta(days=30)
    assert health.check_health().ok
    team.set_behaviour("fail")
    team.retune("schedule", "request", "--reason", "to fail")
    until(lambda: in_state(retrain_deployment, "to fail", "Failed"), 90)
    finding = health.check_health(far)
    assert finding.kind == "failed" and "on fire" in finding.words and "last success was" in finding.words
    team.set_behaviour(300)
    team.retune("schedule", "request", "--reason", "to cancel")
    run = until(lambda: in_state(retrain_deployment, "to cancel", "Running"), 90)
    assert health.check_health(far).kind == "running"
    prefect_api.set_state(run, "CANCELLING", "somebody cancels it")
    until(lambda: in_state(retrain_deployment, "to cancel", "Cancelled"), 60)
    assert health.check_health(far).kind == "cancelled"
    assert team.retune("schedule", "pause").returncode == 0
    assert health.check_health(far).kind == "paused" and "resume" in health.check_health(far).mend
    assert "no" in team.retune("schedule", "list").stdout
    assert team.retune("schedule", "resume").returncode == 0
    assert health.check_health(far).kind == "cancelled"


def test_a_rehearsal_is_no_success(team, retrain_deployment, until):
    team.set_behaviour()
    last = health._last_success(retrain_deployment)
    run = due_ago(retrain_deployment, 0, dry_run=True)
    until(lambda: prefect_api.ask("GET", f"/flow_runs/{run['id']}")["state_type"] == "COMPLETED", 90)
    assert health._last_success(retrain_deployment) == last


def test_the_schedule_makes_runs_and_the_watch_makes_its_rounds(team, retrain_deployment, until):
    before = len(team.ran())
    assert team.retune("schedule", "set", "* * * * *").returncode == 0
    assert len(prefect_api.deployment("retrain")["schedules"]) == 1
    until(lambda: len(team.ran()) > before, 150)
    assert team.ran()[-1]["because"] is None
    rounds = prefect_api.deployment("watch")
    run = prefect_api.ask("POST", f"/deployments/{rounds['id']}/create_flow_run", {"state": {"type": "SCHEDULED"}})
    until(lambda: prefect_api.ask("GET", f"/flow_runs/{run['id']}")["state_type"] in prefect_api.ENDED, 120)
    assert prefect_api.ask("GET", f"/flow_runs/{run['id']}")["state_type"] == "COMPLETED"
    assert team.retune("schedule", "set", "0 2 * * 1").returncode == 0


def test_a_server_that_went_away_loses_no_run_that_is_at_work(team, retrain_deployment, until):
    team.set_behaviour(60)
    team.retune("schedule", "request", "--reason", "through the outage")
    until(lambda: in_state(retrain_deployment, "through the outage", "Running"), 90)
    os.kill(team.pid("prefect"), signal.SIGKILL)
    assert health.check_health().kind == "server"
    assert team.retune("up", timeout=400).returncode == 0
    team.set_behaviour()
    team.retune("schedule", "request", "--reason", "after the outage")
    ended = until(
        lambda: (run := because(retrain_deployment, "through the outage"))["state_type"] in prefect_api.ENDED and run,
        200,
    )
    assert ended["state_type"] == "COMPLETED", ended["state"]
    until(lambda: in_state(retrain_deployment, "after the outage", "Completed"), 120)


def test_down_ends_what_its_worker_ran_and_says_so(team, retrain_deployment, until, module_webhook):
    team.set_behaviour(300)
    team.retune("schedule", "request", "--reason", "at work at the end")
    run = until(lambda: in_state(retrain_deployment, "at work at the end", "Running"), 90)
    victim = flow_process(team, run)
    team.down()
    assert not process_identity._began(victim)
    assert health.check_health().kind == "server"
    assert team.retune("up", "--no-worker", timeout=400).returncode == 0
    assert because(retrain_deployment, "at work at the end")["state_type"] == "CRASHED"
    assert len(of(module_webhook, run)) == 1


def test_without_a_server_a_schedule_is_wrong_use(clone):
    for words in (("list",), ("set", "0 2 * * 1"), ("pause",), ("request", "why")):
        done = clone.retune("schedule", *words)
        assert done.returncode == 2 and "retune up" in done.stderr, done.stderr
    assert clone.retune("worker").returncode == 2


@pytest.mark.parametrize("cron", ["", "bad", "0 2 * *", "61 2 * * 1", "0 2 31 2 *", "* * * * * *"])
def test_a_schedule_that_is_none_is_said(team, cron):
    done = team.retune("schedule", "set", cron)
    assert done.returncode == 2 and "MINUTE HOUR DAY MONTH WEEKDAY" in done.stderr
    assert "Traceback" not in done.stderr
