"""Tidy up after runs: close zombies, cancel late runs in favour of the newest, free leaked slots.

Each worker does so between its other work, and sends alerts about crashes.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from flows.execution import prefect_api
from flows.execution.prefect_api import Run, in_local_time
from flows.project import environment
from flows.scheduling import crash_alerts
from flows.scheduling.crash_alerts import Tell, tell
from retune.registry import backend
from retune.system import process_identity
from retune.system.files import write_text

SILENT_FOR = timedelta(
    seconds=3 * environment.HEARTBEAT + 15
)  # after this time without a heartbeat, a process elsewhere counts as dead
NEVER_BEGUN = timedelta(seconds=60)  # for a worker that took a run to start its process; after it, it counts as dead
LATE = timedelta(minutes=5)  # a run that is late by less is never superseded: runs that are due each minute must begin
FLOWS = ("retrain", "watch", "monitor", "retune")


def waiting(deployment: dict[str, Any]) -> list[Run]:
    """The runs that are due and wait, newest first, also those that resume after an answer."""
    due = prefect_api.of_deployment(
        deployment,
        state={"name": {"any_": list(prefect_api.WAITING)}},
        expected_start_time={"before_": prefect_api.now().isoformat()},
    )
    return sorted(due, key=_order, reverse=True)


def _order(run: Run) -> tuple[datetime, datetime]:
    return prefect_api.time(run["expected_start_time"]), prefect_api.time(run["created"])


def cancel_superseded(deployment: dict[str, Any]) -> list[Run]:
    """Cancel every waiting run that has a newer one with the same parameters, and say why in its state."""
    newest: dict[str, Run] = {}
    cancelled_runs = []
    for run in _first_attempts(deployment):
        first = newest.setdefault(_asks(run), run)
        if first is not run and _cancel_for(run, first):
            cancelled_runs.append(run)
    return cancelled_runs


def supersede(run: Run) -> Run | None:
    """The newer run that waits with the same parameters, if there is one; this one is cancelled then."""
    if run["run_count"] or not run["deployment_id"]:
        return None  # it resumes after an approval, or was started by hand
    if prefect_api.now() - prefect_api.time(run["expected_start_time"]) < LATE:
        return None
    rivals = [other for other in _first_attempts({"id": run["deployment_id"]}) if other["id"] != run["id"]]
    newer = next((other for other in rivals if _asks(other) == _asks(run) and _order(other) > _order(run)), None)
    return newer if newer and _cancel_for(run, newer) else None


def _first_attempts(deployment: dict[str, Any]) -> list[Run]:
    """Whether the run began before: it continues with a version of its own, so no other replaces it."""
    return [run for run in waiting(deployment) if not run["run_count"]]


def _asks(run: Run) -> str:
    return json.dumps(run["parameters"], sort_keys=True)


def _cancel_for(run: Run, newer: Run) -> bool:
    due = in_local_time(prefect_api.time(newer["expected_start_time"]))
    return prefect_api.set_state(run, "CANCELLED", f"late: {newer['name']}, due {due}, is newer and does the same")


def write_pid(run_id: str) -> None:
    """Record that this process executes the run."""
    write_text(_signatures() / run_id, process_identity.name())


def why_dead(run: Run) -> str | None:
    """Why the process of a run that should be running counts as dead, in words; None if it may live.

    A process of this machine is looked for; of another machine we know only its heartbeats.
    """
    signature = _signatures() / run["id"]
    if signature.exists() and process_identity.here(whose := signature.read_text("utf-8")):
        return None if process_identity.alive(whose) else f"its process ({whose}) has died"
    began, now = prefect_api.time(run["state"]["timestamp"]), prefect_api.now()
    if run["state_type"] == "PENDING":
        return f"no process was started for it since {in_local_time(began)}" if now - began > NEVER_BEGUN else None
    last = prefect_api.last_sign(run, now - SILENT_FOR) if now - began > SILENT_FOR else began
    return None if last else f"it has sent no heartbeat for {SILENT_FOR.total_seconds():.0f} s"


def dead_runs() -> list[tuple[Run, str]]:
    """Our runs that should be running and have died, each with the reason why we know."""
    at_work = prefect_api.runs(**prefect_api.in_states(*prefect_api.AT_WORK))
    ours = {each["id"] for each in _deployments()}
    return [(run, dead) for run in at_work if (dead := _death_of_ours(run, ours))]


def _death_of_ours(run: Run, deployments: set[str]) -> str | None:
    """Why a subflow of a run counts as dead: it dies with its parent. A manual run shows it by its heartbeats."""
    if run["parent_task_run_id"]:
        whole = prefect_api.parent(run)
        ended = whole and whole["state_type"] in prefect_api.ENDED and _is_ours(whole, deployments)
        return f"{whole['name']}, which it is part of, has ended" if whole and ended else None
    has_begun = run["deployment_id"] or run["state_type"] != "PENDING"
    return why_dead(run) if has_begun and _is_ours(run, deployments) else None


def _is_ours(run: Run, deployments: set[str]) -> bool:
    if run["deployment_id"]:
        return run["deployment_id"] in deployments
    return (prefect_api.ask("GET", f"/flows/{run['flow_id']}") or {}).get("name") in FLOWS


def close_run(run: Run, dead: str) -> bool:
    """Close a run that has died, or put one that never began back for the next worker. Its slot is free at once."""
    if run["state_type"] == "PENDING":
        return prefect_api.set_state(run, "SCHEDULED", f"{dead}: the worker that took it has died; put back")
    for child in prefect_api.children(run):
        if child["state_type"] in prefect_api.AT_WORK:
            prefect_api.set_state(child, "CRASHED", f"the run that it belongs to has died: {dead}")
    ended = "CANCELLED" if run["state_type"] == "CANCELLING" else "CRASHED"
    return prefect_api.set_state(run, ended, f"zombie: {dead}; closed, and its place given to the next run")


def _deployments() -> Iterator[dict[str, Any]]:
    for flow in (prefect_api.RETRAIN, prefect_api.WATCH, prefect_api.MONITOR):
        if deployment := prefect_api.deployment(flow):
            yield deployment


class Reconciler:
    """Remembers the last round: it frees a slot that no run holds only in the second round that sees it so.

    It also remembers the crashes whose alert no channel took: it tries each once, and another process tries again.
    """

    def __init__(self, tell: Tell = tell) -> None:
        self.leaked: set[str] = set()
        self.unheard: set[str] = set()
        self.tell = tell

    def tidy(self) -> list[str]:
        """Returns what was done, in words."""
        messages = [f"{run['name']}: {dead}; closed" for run, dead in dead_runs() if close_run(run, dead)]
        leaked = set()
        for deployment in _deployments():
            messages += [f"{run['name']}: late, a newer run is due; cancelled" for run in cancel_superseded(deployment)]
            limit = deployment.get("global_concurrency_limit") or {}
            if limit.get("active_slots") and not prefect_api.of_deployment(
                deployment, **prefect_api.in_states(*prefect_api.AT_WORK)
            ):
                leaked.add(limit["id"])
                if limit["id"] in self.leaked:
                    prefect_api.ask("PATCH", f"/v2/concurrency_limits/{limit['id']}", {"active_slots": 0})
                    messages.append(f"{deployment['name']}: freed a slot that no run holds")
        self.leaked = leaked
        _forget_signatures()
        return [*messages, *crash_alerts.tell_of_new(self.tell, self.unheard)]


def _forget_signatures() -> None:
    """Remove signatures of processes of this machine that have ended: their runs are closed by now."""
    for signature in _signatures().glob("*"):
        with suppress(OSError):
            whose = signature.read_text("utf-8")
            if process_identity.here(whose) and not process_identity.alive(whose) and not _at_work(signature.name):
                signature.unlink()


def _at_work(run_id: str) -> bool:
    run = prefect_api.ask("GET", f"/flow_runs/{run_id}")
    return bool(run) and run["state_type"] in prefect_api.AT_WORK


def _signatures() -> Path:
    return backend.state() / "running"
