"""The one client of Prefect's REST API: importing Prefect takes two seconds, and these requests are frequent.

Questions go to the server that PREFECT_API_URL names, or to the `server` of the call.
"""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from retune.errors import Broken, WrongUse
from retune.system.retry import RetryPolicy, TransientError, retry, retry_after_seconds

RETRAIN, WATCH, MONITOR = "retrain", "watch", "monitor"  # the flows that are deployed
TIMEOUT = 20
BUSY = (429, 503)  # the server did nothing, and asks to repeat: another process writes to its SQLite file
POLICY = RetryPolicy(attempts=5, pause_seconds=0.5, longest_pause_seconds=4)  # for a busy server
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
AT_WORK = ("PENDING", "RUNNING", "CANCELLING")
WAITING = ("Scheduled", "Late", "AwaitingConcurrencySlot")  # names of the states of a run that is due and has not begun

Run = dict[str, Any]


class Away(Broken):
    """The server does not answer, or the answer is not that of a Prefect server."""


@dataclass(frozen=True)
class Server:
    """A server by the address of its API, with the credentials for it."""

    url: str
    login: tuple[str, str] | None = None
    key: str | None = None
    timeout: float = TIMEOUT


def pool_name() -> str:
    """The name of the work pool and of its deployments; each project on a shared server has its own."""
    return os.environ.get("RETUNE_POOL") or "retune"


def address() -> str:
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        raise WrongUse(
            "a schedule needs a Prefect server that stays up: `retune up` starts one, or PREFECT_API_URL names yours"
        )
    return url.rstrip("/")


def _configured() -> Server:
    user, _, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    return Server(address(), (user, password) if user else None, os.environ.get("PREFECT_API_KEY"))


def ask(method: str, path: str, body: Any = None, server: Server | None = None) -> Any:
    """The JSON of the answer; None if the object does not exist. Raises Away if the server does not answer."""
    answer = _send(method, path, body, server)
    return answer.json() if answer.status_code != 404 and answer.content else None


def now() -> datetime:
    """The time of the server, which runs and heartbeats carry: the clocks of two machines differ."""
    return parsedate_to_datetime(_send("GET", "/health").headers["date"])


def is_healthy(url: str) -> bool:
    """Whether the server with this API address says that it is well. Raises Away if nothing answers there."""
    return _send_once("GET", "/health", None, Server(url.rstrip("/"), timeout=5)).is_success


def _send(method: str, path: str, body: Any = None, server: Server | None = None) -> httpx.Response:
    to = server or _configured()

    def attempt() -> httpx.Response:
        answer = _send_once(method, path, body, to)
        if answer.status_code in BUSY:
            raise TransientError(_describe(answer, path, to), retry_after_seconds(answer.headers.get("Retry-After")))
        return answer

    try:
        answer = retry(attempt, POLICY, on_retry=lambda _: None)
    except TransientError as error:
        raise Away(str(error)) from None
    if answer.status_code in (401, 403):
        raise Away(f"the Prefect server at {to.url} refuses access: set PREFECT_API_AUTH_STRING to its password")
    if answer.is_error and answer.status_code != 404:
        raise Away(_describe(answer, path, to))
    return answer


def _describe(answer: httpx.Response, path: str, server: Server) -> str:
    return f"the Prefect server at {server.url} answers {answer.status_code} to {path}: {answer.text[:200]}"


def _send_once(method: str, path: str, body: Any, server: Server) -> httpx.Response:
    headers = {"Authorization": f"Bearer {server.key}"} if server.key else {}
    options: dict[str, Any] = {"auth": server.login, "headers": headers, "timeout": server.timeout}
    try:
        return httpx.request(method, f"{server.url}{path}", json=body, **options)
    except httpx.HTTPError as error:
        raise Away(f"the Prefect server at {server.url} does not answer: {type(error).__name__}: {error}") from None


def deployment(flow: str) -> dict[str, Any] | None:
    answer: dict[str, Any] | None = ask("GET", f"/deployments/name/{flow}/{pool_name()}")
    return answer


def runs(limit: int = 200, sort: str = "EXPECTED_START_TIME_DESC", **criteria: Any) -> list[Run]:
    return ask("POST", "/flow_runs/filter", {"flow_runs": criteria, "limit": limit, "sort": sort}) or []


def of_deployment(record: dict[str, Any], **criteria: Any) -> list[Run]:
    return runs(deployment_id={"any_": [record["id"]]}, **criteria)


def in_states(*types: str) -> dict[str, Any]:
    return {"state": {"type": {"any_": list(types)}}}


def reason_of(run: Run) -> str:
    """The reason for which a retraining was started; empty if none was stated."""
    return run["parameters"].get("because") or ("the schedule" if run["auto_scheduled"] else "")


def children(run: Run) -> list[Run]:
    """The subflows of this run."""
    return runs(parent_flow_run_id={"any_": [run["id"]]})


def parent(run: Run) -> Run | None:
    """The run that this one is a subflow of."""
    task = ask("GET", f"/task_runs/{run['parent_task_run_id']}")
    return ask("GET", f"/flow_runs/{task['flow_run_id']}") if task else None


def workers(server: Server | None = None) -> list[dict[str, Any]]:
    return ask("POST", f"/work_pools/{pool_name()}/workers/filter", {}, server) or []


def pool() -> dict[str, Any] | None:
    answer: dict[str, Any] | None = ask("GET", f"/work_pools/{pool_name()}")
    return answer


def last_sign(run: Run, since: datetime) -> datetime | None:
    """When the server last got a heartbeat of this run, since then."""
    criteria = {
        "occurred": {"since": since.isoformat()},
        "event": {"name": ["prefect.flow-run.heartbeat"]},
        "resource": {"id": [f"prefect.flow-run.{run['id']}"]},
    }
    events = (ask("POST", "/events/filter", {"filter": criteria, "limit": 1}) or {}).get("events") or []
    return time(events[0]["received"]) if events else None


def time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def set_state(run: Run, kind: str, message: str, name: str | None = None) -> bool:
    """Move a run to another state, with a message. Whether the server agreed: another process may be faster."""
    state = {"type": kind, "name": name or kind.capitalize(), "message": message}
    answer = ask("POST", f"/flow_runs/{run['id']}/set_state", {"state": state})
    return bool(answer) and answer["status"] == "ACCEPT"


def resume(run_id: str) -> bool:
    """Have a worker start a suspended run again. False if it is not suspended, or no longer exists."""
    run = ask("GET", f"/flow_runs/{run_id}")
    if not run or run["state_type"] != "PAUSED":
        return False
    answer = ask("POST", f"/flow_runs/{run_id}/resume", {"run_input": None})
    return bool(answer) and answer["status"] == "ACCEPT"


def emit(event: str, payload: dict[str, Any]) -> None:
    from uuid import uuid4

    record = {
        "id": str(uuid4()),
        "occurred": now().isoformat(),
        "event": event,
        "resource": {"prefect.resource.id": pool_name()},
        "payload": payload,
    }
    ask("POST", "/events", [record])


def in_local_time(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
