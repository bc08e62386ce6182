"""Alerts about retrainings that have crashed: a process that was killed cannot send one itself.

Prefect's worker marks the runs that it saw die, and `run_hygiene.Reconciler.tidy` the others. Either way the run ends
as crashed, and the next `tidy` sends the alert. A tag of the run records that it was sent.
"""

from collections.abc import Callable
from datetime import timedelta

from flows.execution import prefect_api
from flows.execution.prefect_api import Run
from retune.config.types import Event
from retune.lineage import history, retraining_log
from retune.registry import backend

NEWS = timedelta(days=1)  # no alert for an older crash
TOLD = "retune: crash told"
Tell = Callable[[Event, str, str], bool]  # whether a channel took it, or the event is switched off


def tell_of_new(tell: Tell, unheard: set[str]) -> list[str]:
    """Send one alert for each new crash. Returns what was done, in words.

    unheard: the runs whose alert no channel took, which this function adds to. This process leaves them to others, so
    that it does not ask a channel that is away every ten seconds.

    Two machines that look in the same second may both send an alert: the lock belongs to this clone.
    """
    from filelock import FileLock, Timeout

    from flows.retraining import notifications

    deployment = prefect_api.deployment(prefect_api.RETRAIN)
    if not deployment or not notifications.has_channel():
        return []  # `retune down` from a shell without channels leaves it to the worker that is started next
    try:
        with FileLock(backend.state() / "crashed.lock", timeout=0):
            return [
                message
                for run in _new(deployment)
                if run["id"] not in unheard and (message := _tell(run, tell, unheard))
            ]
    except Timeout:
        return []  # another process is sending it


def _new(deployment: Run) -> list[Run]:
    since = (prefect_api.now() - NEWS).isoformat()
    ended = prefect_api.of_deployment(deployment, **prefect_api.in_states("CRASHED"), end_time={"after_": since})
    return [run for run in ended if TOLD not in run["tags"] and not run["parameters"].get("dry_run")]


def _tell(run: Run, tell: Tell, unheard: set[str]) -> str:
    has_entry = _has_history_entry(run)
    if not has_entry and not tell("failed", f"Retraining has crashed: {run['name']}", _words(run)):
        unheard.add(run["id"])
        return f"{run['name']}: crashed; no channel took the alert"
    prefect_api.ask(
        "PATCH", f"/flow_runs/{run['id']}", {"tags": [*run["tags"], TOLD]}
    )  # after the alert: twice is better than never
    return "" if has_entry else f"{run['name']}: crashed; alert sent"


def _has_history_entry(run: Run) -> bool:
    """Whether the history of a model holds an entry of this run: then it died after it had reported its outcome."""
    return any(retraining_log.last(history.read(name), run["id"]) for name in history.names())


def _words(run: Run) -> str:
    message = (run["state"].get("message") or "the reason is unknown").strip().splitlines()[0]
    return (
        f"{run['name']} has died: {message}\n"
        f"It was started for: {prefect_api.reason_of(run) or 'no stated reason'}\n"
        "The next retraining continues where it stopped; `retune schedule request --reason TEXT` starts one now."
    )


def tell(event: Event, title: str, body: str) -> bool:
    """Notify people, even if params.yaml is wrong: that may be the very reason why retraining is silent."""
    from flows.retraining import notifications

    section, wrong = notifications.load_config()
    if wrong:
        body = f"{body}\nNothing can be retrained until this is fixed: {wrong}"
    return notifications.notify_people(event, title, body, section)
