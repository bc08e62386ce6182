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

NEWS = timedelta(days=1)  # what crashed longer ago, perhaps before this was told at all, is told to nobody
TOLD = "retune: crash told"
Tell = Callable[[Event, str, str], bool]  # whether anybody was told, or wants to be


def tell_of_new(tell: Tell, unheard: set[str]) -> list[str]:
    """Each is told once, by whoever can; returns what was done, in words.

    `unheard`: the runs of which this one could tell nobody, and more come to it. They are left to others: a channel
    that is away is not asked every ten seconds.

    Machines that look in the same second may both tell it: the lock is this clone's.
    """
    from filelock import FileLock, Timeout

    from flows.retraining import notifications

    deployment = prefect_api.deployment(prefect_api.RETRAIN)
    if not deployment or not notifications.anybody():
        return []  # `retune down` from a shell without channels leaves it to the worker that is started next
    try:
        with FileLock(backend.state() / "crashed.lock", timeout=0):
            return [
                message
                for run in _new(deployment)
                if run["id"] not in unheard and (message := _tell(run, tell, unheard))
            ]
    except Timeout:
        return []  # another process is telling it


def _new(deployment: Run) -> list[Run]:
    since = (prefect_api.now() - NEWS).isoformat()
    ended = prefect_api.of_deployment(deployment, **prefect_api.in_states("CRASHED"), end_time={"after_": since})
    return [run for run in ended if TOLD not in run["tags"] and not run["parameters"].get("dry_run")]


def _tell(run: Run, tell: Tell, unheard: set[str]) -> str:
    has_entry = _has_history_entry(run)
    if not has_entry and not tell("failed", f"Retraining has crashed: {run['name']}", _words(run)):
        unheard.add(run["id"])
        return f"{run['name']}: crashed; nobody could be told"
    prefect_api.ask(
        "PATCH", f"/flow_runs/{run['id']}", {"tags": [*run["tags"], TOLD]}
    )  # after it: rather twice than never
    return "" if has_entry else f"{run['name']}: crashed; told"


def _has_history_entry(run: Run) -> bool:
    """Whether the history of a model holds an entry of this run: then it died after it had reported its outcome."""
    return any(retraining_log.last(history.read(name), run["id"]) for name in history.names())


def _words(run: Run) -> str:
    message = (run["state"].get("message") or "nobody knows why").strip().splitlines()[0]
    return (
        f"{run['name']} has died: {message}\n"
        f"It was started for: {prefect_api.reason_of(run) or 'no reason that was given'}\n"
        "The next retraining goes on where it stopped; `retune schedule request --reason TEXT` starts one now."
    )


def tell(event: Event, title: str, body: str) -> bool:
    """To whoever wants to know, also where params.yaml is wrong: retraining may be silent for that very reason."""
    from flows.retraining import notifications

    section, wrong = notifications.load_config()
    if wrong:
        body = f"{body}\nNothing can be retrained until this is mended: {wrong}"
    return notifications.notify_people(event, title, body, section)
