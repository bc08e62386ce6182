"""Retrainings that have died: told to people, since a process that was killed cannot say so itself.

Prefect's worker marks what it saw die, and `watch.tidy` what nobody saw; either way the run ends as crashed, and
whoever tidies next tells it. A tag of the run says that this was done.
"""

from collections.abc import Callable
from datetime import timedelta

from flows import home
from flows.schedules import server
from flows.schedules.server import Run
from tasks.core import history, outcome
from tasks.core.params import Event

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

    from flows import tell as channels

    found = server.deployment(server.RETRAIN)
    if not found or not channels.anybody():
        return []  # `retune down` from a shell without channels leaves it to the worker that is started next
    try:
        with FileLock(home.state() / "crashed.lock", timeout=0):
            return [said for run in _new(found) if run["id"] not in unheard and (said := _tell(run, tell, unheard))]
    except Timeout:
        return []  # another process is telling it


def _new(found: Run) -> list[Run]:
    since = (server.now() - NEWS).isoformat()
    ended = server.of_deployment(found, **server.in_states("CRASHED"), end_time={"after_": since})
    return [run for run in ended if TOLD not in run["tags"] and not run["parameters"].get("dry_run")]


def _tell(run: Run, tell: Tell, unheard: set[str]) -> str:
    heard = _has_told(run)
    if not heard and not tell("failed", f"Retraining has crashed: {run['name']}", _words(run)):
        unheard.add(run["id"])
        return f"{run['name']}: crashed; nobody could be told"
    server.ask("PATCH", f"/flow_runs/{run['id']}", {"tags": [*run["tags"], TOLD]})  # after it: rather twice than never
    return "" if heard else f"{run['name']}: crashed; told"


def _has_told(run: Run) -> bool:
    """Whether it died after it had told what came of it."""
    return any(outcome.last(history.read(name), run["id"]) for name in history.names())


def _words(run: Run) -> str:
    said = (run["state"].get("message") or "nobody knows why").strip().splitlines()[0]
    return (
        f"{run['name']} has died: {said}\n"
        f"It was started for: {server.because(run) or 'no reason that was given'}\n"
        "The next retraining goes on where it stopped; `retune schedule request TEXT` starts one now."
    )
