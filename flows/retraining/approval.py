"""A flow run that waits for a person: it suspends, which ends its process and frees worker and GPU, and starts again
from the top once the person has decided.

    version = approval.pending()          # at the top of the flow: the version that it was suspended for, if it was
    ...
    version = approval.suspend(version)   # where the gate passes and a person has to agree

Started again, the flow finds by `pending` that its version was decided about and ends. Prefect keeps no result for
it, so nothing else of the first attempt comes back. Only a run of a deployment can suspend: another one has nobody
who starts it again, and just ends; `retune approve` promotes all the same.
"""

from collections.abc import Iterator
from contextlib import suppress
from uuid import uuid4

from prefect.runtime import deployment, flow_run

from flows.execution import prefect_api
from retune.errors import Refused, WrongUse
from retune.lineage import history, retraining_log
from retune.lineage.entry_facts import End
from retune.registry import versions
from tasks.promote import approval, succession


def pending(flow_run_id: str | None = None) -> versions.Version | None:
    """The version that a flow run was suspended for; this flow run if none is named."""
    mine = flow_run_id or flow_run.get_id()
    return approval.awaited_by(str(mine)) if mine else None


def asked_about(flow_run_id: str) -> versions.Version | None:
    """The version that a suspended flow run waits for. A version names only the last run; the history names all."""
    return pending(flow_run_id) or next(_awaited_versions(flow_run_id), None)


def _awaited_versions(flow_run_id: str) -> Iterator[versions.Version]:
    for name in history.names():
        facts = retraining_log.last(history.read(name), flow_run_id)
        if facts and facts.outcome is End.AWAITING and facts.version:
            with suppress(Refused):  # the registry no longer has it
                yield versions.resolve(facts.version)


def waits(version: versions.Version) -> bool:
    decision = succession.decided(version)
    return decision is not None and decision.awaiting


def suspend(version: versions.Version) -> versions.Version:
    """End this process until a person has decided. Returns at once after a decision, or if nothing would restart it.

    Under the history's lock, so no answer can come between the question and the sleep.
    """
    from prefect.flow_runs import suspend_flow_run

    with history.writing():
        now = versions.find(version.name, version=version.version)
        decision = succession.decided(now)
        if decision and decision.awaiting and can_suspend():
            approval.await_approval(now, str(flow_run.get_id()))
            # Prefect suspends once for each key, and a resumed run counts as the same attempt. With a new key each
            # time, a run that was resumed without an answer suspends again.
            suspend_flow_run(key=str(uuid4()))
    return now


def can_suspend() -> bool:
    """Whether this is the run of a deployment, and not a subflow."""
    return deployment.get_id() is not None and flow_run.get_parent_flow_run_id() is None


def resume(flow_run_id: str) -> bool:
    """Have a worker start a suspended flow run again. False if it is not suspended, is gone, or no server answers."""
    with suppress(prefect_api.Away, WrongUse):  # WrongUse: no persistent server is configured, so none has the run
        return prefect_api.resume(flow_run_id)
    return False
