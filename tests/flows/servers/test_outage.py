"""PostgreSQL goes away for two minutes in the middle of a retraining: Prefect and MLflow both live in it.

The retraining waits for it or says what is wrong; the next one comes to the end that there would have been.
"""

import os
import signal
import threading
import time

import psutil
import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

AWAY = 120  # seconds
# From where to where the road is when it goes: what the log says then.
MOMENTS = {"while it trains": "Running stage 'train'", "while it decides": "Running stage 'evaluate'"}


@pytest.fixture(scope="module")
def inbox(tmp_path_factory):
    return tmp_path_factory.mktemp("inbox")


@pytest.fixture(scope="module")
def desk(team, inbox, desk_at):
    """A desk whose services are up, and that has a champion."""
    made = desk_at(team.clone, inbox)
    made.deliver("start.csv", made.rows[:400])
    assert made.told()["outcome"] == "promoted"
    return made


@pytest.fixture(scope="module")
def team(make_team):
    return make_team("--no-worker", "--database", "postgres", stand_in=False)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_retraining_outlives_two_minutes_without_postgresql_or_says_so(desk, team, until, moment):
    at = 400 + 60 * list(MOMENTS).index(moment)
    desk.deliver(f"{at}.csv", desk.rows[at : at + 60])
    process = desk.clone.start("retrain")
    lines = follow(process)
    until(lambda: any(MOMENTS[moment] in line for line in lines), 240)
    stop(team)
    began = time.monotonic()
    while process.poll() is None and time.monotonic() < began + AWAY:
        time.sleep(1)
    ended_after = time.monotonic() - began if process.poll() is not None else None
    time.sleep(max(0, began + AWAY - time.monotonic()))
    up = team.retune("up", "--no-worker", timeout=400)
    assert up.returncode == 0, up.stdout + up.stderr
    code = process.wait(900)
    said = "".join(lines)
    print(f"{moment}: {code}, ended in the outage after {ended_after}\n{said}\n{up.stdout}")
    assert "Traceback" not in said
    assert code in (0, 1, 3), said
    again = desk.retrain()
    assert again.returncode in (0, 1) and "Traceback" not in again.stderr, again.stderr
    versions = desk.is_whole()
    assert len(versions) == 2 + list(MOMENTS).index(moment)
    ids = desk.ids()
    assert len(ids) == at + 60 and not ids.duplicated().any(), "no row lost or doubled"
    desk.ask("clean", "--days", "0")
    desk.no_folder_is_left()
    if code == 3:
        assert "retune: " in said


def stop(team):
    """As a person would who stops a database in haste."""
    server = psutil.Process(team.pid("postgres"))
    os.kill(server.pid, signal.SIGINT)
    psutil.wait_procs([server], timeout=30)
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE


def follow(process):
    lines = []
    threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")), daemon=True).start()
    return lines
