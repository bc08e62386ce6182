"""Retrainings that sleep until a person has answered, and are woken once that is so.

`retune approve` and `retune reject` wake theirs themselves, unless the Prefect server was away just then. Nothing else
would wake it later, and a run that sleeps on would hide from the watch whatever else is wrong.
"""

from typing import Any

from flows.execution import prefect_api


class Waker:
    """Remembers what it saw the last time: who has just answered wakes the run with the same command, and tells it."""

    def __init__(self) -> None:
        self.answered: set[str] = set()

    def wake(self) -> list[str]:
        """Returns what was done, in words."""
        deployment = prefect_api.deployment(prefect_api.RETRAIN)
        asleep = prefect_api.of_deployment(deployment, **prefect_api.in_states("PAUSED")) if deployment else []
        answered = {run["id"]: version for run in asleep if (version := _answered_version(run))}
        messages = [
            _end_sleep(run, answered[run["id"]]) for run in asleep if run["id"] in self.answered & set(answered)
        ]
        self.answered = set(answered)
        return [message for message in messages if message]


def _answered_version(run: prefect_api.Run) -> Any:
    """The version for whose answer a run sleeps, if it was given."""
    from flows.retraining import approval  # it imports what training needs: only where a run sleeps

    version = approval.asked_about(run["id"])
    return version if version and not approval.waits(version) else None


def _end_sleep(run: prefect_api.Run, version: Any) -> str:
    """It goes on and tells what was decided; of several that sleep for one version the last does so, for all."""
    from flows.retraining import approval

    if approval.pending(run["id"]):
        return f"{run['name']}: {version} was decided about; goes on" if approval.resume(run["id"]) else ""
    why = f"{version}, for which it waited, was decided about; a later run has told what came of it"
    return f"{run['name']}: {why}; cancelled" if prefect_api.set_state(run, "CANCELLED", why) else ""
