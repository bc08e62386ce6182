"""`retune schedule list`, which `schedule request` points to: what comes of a request, on a real Prefect server."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from flows.execution import prefect_api

pytestmark = pytest.mark.slow
STATES = {  # what Prefect is told -> what people read
    "SCHEDULED": "queued",
    "RUNNING": "running",
    "PAUSED": "suspended, waits for approval",
    "COMPLETED": "finished",
    "FAILED": "failed",
}


def test_the_newest_runs_are_listed_with_their_states_and_times(own_clone, prefect_url, monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    own_clone.env |= {"PREFECT_API_URL": prefect_url, "RETUNE_POOL": tmp_path.name}
    assert own_clone.retune("schedule", "set", "0 2 * * 1").returncode == 0
    assert "no run was due yet" in own_clone.retune("schedule", "list").stdout
    assert own_clone.retune("schedule", "pause").returncode == 0
    for reason in ("the schedule was paused, and is active now", ""):  # once
        done = own_clone.retune("schedule", "set", "0 3 * * 1", "--json")
        assert all(each["active"] for each in json.loads(done.stdout)) and reason in done.stderr
    assert "was paused" not in done.stderr
    deployment = prefect_api.ask("GET", f"/deployments/name/retrain/{tmp_path.name}")
    for minute, kind in enumerate(reversed(STATES)):
        begin(deployment, minute, kind)
    begin(deployment, 60 * 24, None)  # planned for tomorrow: `next` tells of it
    schedule = json.loads(own_clone.retune("schedule", "list", "--json").stdout)
    assert [each["deployment"].partition("/")[0] for each in schedule["schedules"]] == ["retrain", "watch", "monitor"]
    runs = schedule["runs"]
    assert [(each["because"], each["state"]) for each in runs] == list(STATES.items()), "newest first"
    by = {each["because"]: each for each in runs}
    assert by["FAILED"]["says"] == "the desk is on fire" and by["FAILED"]["ended"].endswith("+00:00")
    assert by["RUNNING"]["began"] and not by["RUNNING"]["ended"] and not by["SCHEDULED"]["began"]
    lines = own_clone.retune("schedule", "list").stdout
    assert "suspended, waits for approval" in lines and "the desk is on fire" in lines and "+00:00" in lines


def begin(deployment, minute, kind):
    when = (datetime.now(UTC) - timedelta(minutes=30) + timedelta(minutes=minute)).isoformat()
    state = {"type": "SCHEDULED", "name": "Scheduled", "state_details": {"scheduled_time": when}}
    request = {"state": state, "parameters": {"because": kind}}
    run = prefect_api.ask("POST", f"/deployments/{deployment['id']}/create_flow_run", request)
    road = {"FAILED": ["RUNNING", "FAILED"], "COMPLETED": ["RUNNING", "COMPLETED"], "PAUSED": ["RUNNING", "PAUSED"]}
    for step in road.get(kind, [kind] if kind == "RUNNING" else []):
        state_change = {"type": step, "message": "the desk is on fire\nand more" if step == "FAILED" else ""}
        done = prefect_api.ask("POST", f"/flow_runs/{run['id']}/set_state", {"state": state_change, "force": True})
        assert done["status"] == "ACCEPT", done
