"""Prefect's server, asked over HTTP: importing Prefect takes two seconds, and these questions are asked often."""

import os
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import sleep
from typing import Any

import httpx

from retune.errors import Broken, WrongUse

POOL = os.environ.get("RETUNE_POOL") or "retune"  # also the name of its deployments; one a project on a shared server
RETRAIN, WATCH = "retrain", "watch"  # the flows that are deployed
TIMEOUT = 20
BUSY = (429, 503)  # "ask again": nothing was done. So it answers while another process writes to its SQLite
PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds before a busy server is asked once more
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
AT_WORK = ("PENDING", "RUNNING", "CANCELLING")
WAITING = ("Scheduled", "Late", "AwaitingConcurrencySlot")  # names of the states of a run that is due and has not begun

Run = dict[str, Any]


class Away(Broken):
    """The server does not answer, or not as one."""


def address() -> str:
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        raise WrongUse(
            "a schedule needs a Prefect server that stays up: `retune up` starts one, or PREFECT_API_URL names yours"
        )
    return url.rstrip("/")


def ask(method: str, path: str, body: Any = None) -> Any:
    """The answer's JSON; None if there is no such thing. Raises Away if the server is."""
    answer = _asked(method, path, body)
    return answer.json() if answer.status_code != 404 and answer.content else None


def now() -> datetime:
    """The server's own time: runs and heartbeats carry it, and the clocks of two machines differ."""
    return parsedate_to_datetime(_asked("GET", "/health").headers["date"])


def _asked(method: str, path: str, body: Any = None) -> httpx.Response:
    for pause in PAUSES:
        answer = _asked_once(method, path, body)
        if answer.status_code not in BUSY:
            break
        sleep(pause)
    else:
        answer = _asked_once(method, path, body)
    if answer.status_code in (401, 403):
        raise Away(f"the Prefect server at {address()} lets nobody in without its password: PREFECT_API_AUTH_STRING")
    if answer.is_error and answer.status_code != 404:
        raise Away(f"the Prefect server at {address()} answers {answer.status_code} to {path}: {answer.text[:200]}")
    return answer


def _asked_once(method: str, path: str, body: Any) -> httpx.Response:
    user, _, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    login, key = ((user, password) if user else None), os.environ.get("PREFECT_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        return httpx.request(method, f"{address()}{path}", json=body, auth=login, headers=headers, timeout=TIMEOUT)
    except httpx.HTTPError as error:
        raise Away(f"the Prefect server at {address()} is away: {type(error).__name__}: {error}") from None


# ---------------------------------------------------------------- what is there


def deployment(flow: str) -> dict[str, Any] | None:
    return ask("GET", f"/deployments/name/{flow}/{POOL}")


def runs(limit: int = 200, sort: str = "EXPECTED_START_TIME_DESC", **criteria: Any) -> list[Run]:
    return ask("POST", "/flow_runs/filter", {"flow_runs": criteria, "limit": limit, "sort": sort}) or []


def of_deployment(found: dict[str, Any], **criteria: Any) -> list[Run]:
    return runs(deployment_id={"any_": [found["id"]]}, **criteria)


def in_states(*types: str) -> dict[str, Any]:
    return {"state": {"type": {"any_": list(types)}}}


def reason_of(run: Run) -> str:
    """What a retraining was started for; empty if nobody said."""
    return run["parameters"].get("because") or ("the schedule" if run["auto_scheduled"] else "")


def children(run: Run) -> list[Run]:
    """The flows that run inside this one."""
    return runs(parent_flow_run_id={"any_": [run["id"]]})


def parent(run: Run) -> Run | None:
    """The run that this one is a part of."""
    task = ask("GET", f"/task_runs/{run['parent_task_run_id']}")
    return ask("GET", f"/flow_runs/{task['flow_run_id']}") if task else None


def workers() -> list[dict[str, Any]]:
    return ask("POST", f"/work_pools/{POOL}/workers/filter", {}) or []


def pool() -> dict[str, Any] | None:
    return ask("GET", f"/work_pools/{POOL}")


def last_sign(run: Run, since: datetime) -> datetime | None:
    """When the server last got a heartbeat of this run, since then."""
    wanted = {
        "occurred": {"since": since.isoformat()},
        "event": {"name": ["prefect.flow-run.heartbeat"]},
        "resource": {"id": [f"prefect.flow-run.{run['id']}"]},
    }
    found = (ask("POST", "/events/filter", {"filter": wanted, "limit": 1}) or {}).get("events") or []
    return time(found[0]["received"]) if found else None


def time(told: str) -> datetime:
    return datetime.fromisoformat(told)


# ---------------------------------------------------------------- what is changed


def set_state(run: Run, kind: str, message: str, name: str | None = None) -> bool:
    """Move a run to another state, in words. Whether the server agreed: another may have moved it first."""
    state = {"type": kind, "name": name or kind.capitalize(), "message": message}
    told = ask("POST", f"/flow_runs/{run['id']}/set_state", {"state": state})
    return bool(told) and told["status"] == "ACCEPT"


def emit(event: str, payload: dict[str, Any]) -> None:
    from uuid import uuid4

    told = {
        "id": str(uuid4()),
        "occurred": now().isoformat(),
        "event": event,
        "resource": {"prefect.resource.id": POOL},
        "payload": payload,
    }
    ask("POST", "/events", [told])


def in_local_time(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
