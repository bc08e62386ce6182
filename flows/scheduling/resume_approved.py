"""Suspended retrainings: they wait for the answer of a person, and resume after it.

`retune approve` and `retune reject` wake theirs themselves, unless the Prefect server was away just then. Nothing else
would wake it later, and a run that sleeps on would hide from the watch whatever else is wrong.
"""

from typing import Any

from flows.execution import prefect_api


class Waker:
    """Remembers the answers of the last round: the command that gives an answer resumes the run itself."""

    def __init__(self) -> None:
        self.answered: set[str] = set()

    def wake(self) -> list[str]:
        """Resume or cancel runs. Returns what was done, in words."""
        deployment = prefect_api.deployment(prefect_api.RETRAIN)
        asleep = prefect_api.of_deployment(deployment, **prefect_api.in_states("PAUSED")) if deployment else []
        answered = {run["id"]: version for run in asleep if (version := _answered_version(run))}
        messages = [
            _end_sleep(run, answered[run["id"]]) for run in asleep if run["id"] in self.answered & set(answered)
        ]
        self.answered = set(answered)
        return [message for message in messages if message]


def _answered_version(run: prefect_api.Run) -> Any:
    """The version whose answer a run waits for, if the answer was given."""
    from flows.retraining import approval  # it imports what training needs: only where a run is suspended

    version = approval.asked_about(run["id"])
    return version if version and not approval.waits(version) else None


def _end_sleep(run: prefect_api.Run, version: Any) -> str:
    """Resume the run, which reports the decision. Of several runs that wait for one version only the last resumes."""
    from flows.retraining import approval

    if approval.pending(run["id"]):
        return f"{run['name']}: {version} has its answer; resumed" if approval.resume(run["id"]) else ""
    why = f"{version}, which it waited for, has its answer; a later run has reported the outcome"
    return f"{run['name']}: {why}; cancelled" if prefect_api.set_state(run, "CANCELLED", why) else ""
