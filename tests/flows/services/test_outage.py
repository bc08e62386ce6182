"""PostgreSQL goes away for two minutes in the middle of a retraining: Prefect and MLflow both live in it.

The retraining waits for it or says what is wrong; the next one comes to the end that there would have been.
"""

import os
import signal
import threading
import time
from contextlib import contextmanager

import psutil
import pytest

from flows.execution import prefect_api

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

AWAY = 120  # seconds
# What the log says when it goes.
MOMENTS = {
    "while it fetches": "Beginning flow run",
    "while it trains": "Running stage 'train'",
    "while it decides": "Running stage 'evaluate'",
}


@pytest.fixture(scope="module")
def inbox(tmp_path_factory):
    return tmp_path_factory.mktemp("inbox")


@pytest.fixture(scope="module")
def retraining_clone(team, inbox, make_retraining_clone):
    """A desk whose services are up, and that has a champion."""
    retraining_clone = make_retraining_clone(team.clone, inbox)
    retraining_clone.deliver("start.csv", retraining_clone.rows[:400])
    assert retraining_clone.retrain_report()["outcome"] == "promoted"
    return retraining_clone


@pytest.fixture(scope="module")
def team(make_team):
    return make_team("--no-worker", "--database", "postgres", stand_in=False)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_retraining_outlives_two_minutes_without_postgresql_or_says_so(retraining_clone, team, until, moment):
    at = 400 + 60 * list(MOMENTS).index(moment)
    retraining_clone.deliver(f"{at}.csv", retraining_clone.rows[at : at + 60])
    process = retraining_clone.clone.start("retrain")
    lines = follow(process)
    until(lambda: any(MOMENTS[moment] in line for line in lines), 240)
    with away(team):
        pass
    code = process.wait(900)
    output = "".join(lines)
    print(f"{moment}: {code}\n{output}")
    assert "Traceback" not in output
    assert code in (0, 1) or (code == 3 and "retune: " in output), output
    version_count = 2 + list(MOMENTS).index(moment)
    if code != 3:
        assert len(retraining_clone.query("models")) == version_count, "what says that it ended has made its version"
    again = retraining_clone.retrain()
    assert again.returncode in (0, 1) and "Traceback" not in again.stderr, again.stderr
    assert len(retraining_clone.assert_consistent()) == version_count
    ids = retraining_clone.row_ids()
    assert len(ids) == at + 60 and not ids.duplicated().any(), "no row lost or doubled"
    retraining_clone.query("clean", "--days", "0")
    retraining_clone.assert_no_worktree_left()


@contextmanager
def away(team):
    """Stopped, as by a person in haste, and started again."""
    until = time.monotonic() + AWAY
    postgres = psutil.Process(team.pid("postgres"))
    os.kill(postgres.pid, signal.SIGINT)
    psutil.wait_procs([postgres], timeout=30)
    assert not postgres.is_running() or postgres.status() == psutil.STATUS_ZOMBIE
    yield
    time.sleep(max(0, until - time.monotonic()))
    done = team.retune("up", *(() if team.state()["processes"].get("worker") else ["--no-worker"]), timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr


def follow(process):
    lines = []
    threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")), daemon=True).start()
    return lines


def test_a_worker_goes_on_and_what_its_run_could_not_say_is_closed(make_team, until, monkeypatch):
    """On schedule nobody reads a log: no run may be left that Prefect believes at work, and the next one begins."""
    team = make_team("--database", "postgres")
    monkeypatch.chdir(team.clone.folder)
    for name, value in team.variables().items():
        monkeypatch.setenv(name, value)
    assert team.retune("schedule", "set", "0 2 * * 1").returncode == 0
    retrain, worker = prefect_api.deployment("retrain"), team.state()["processes"]["worker"]

    def state(reason):
        runs_found = [run for run in prefect_api.of_deployment(retrain) if run["parameters"].get("because") == reason]
        return runs_found[0]["state_type"] if runs_found else None

    team.set_behaviour(20)
    team.retune("schedule", "request", "--reason", "cut off")
    until(lambda: state("cut off") == "RUNNING", 90)
    with away(team):
        team.set_behaviour()
    assert team.retune("schedule", "request", "--reason", "afterwards").returncode == 0
    until(lambda: state("afterwards") == "COMPLETED", 150)
    until(lambda: state("cut off") in prefect_api.ENDED, 60)
    print(f"cut off: {state('cut off')}")
    assert team.state()["processes"]["worker"] == worker, "the same one"
