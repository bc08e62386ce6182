"""A person approves or rejects a version that the gate let pass and the parameters ask approval for."""

import re
from dataclasses import dataclass

from retune.errors import Refused, WrongUse
from retune.lineage import history, record
from retune.lineage.record import Record
from retune.promotion.gate import Decision
from retune.registry import versions
from retune.system import failpoints
from retune.system.files import file_sha256
from tasks.promote.gate_decision import as_things_stand, decision_of
from tasks.promote.succession import (
    AWAITING,
    CROWNED,
    DECIDED,
    HELD,
    REJECTED,
    Check,
    carry_out_rejection,
    promote_approved,
    registration,
)

FLOW_RUN = "approval.flow_run"  # tag of a version: the flow run that is suspended until somebody decides


@dataclass(frozen=True)
class Evidence:
    """What a person looks at before an answer: the record, and its hash as its bytes are now."""

    version: versions.Version
    sha256: str
    record: Record


def await_approval(version: versions.Version, flow_run_id: str) -> None:
    """Note which flow run goes on as soon as somebody has decided."""
    versions.tag_version(version, {FLOW_RUN: flow_run_id})


def awaited_by(flow_run_id: str) -> versions.Version | None:
    """The version that a flow run waits, or has waited, for."""
    return next((version for version in versions.versions() if version.tags.get(FLOW_RUN) == flow_run_id), None)


def evidence(version: versions.Version, named: str | None) -> Evidence:
    """What there is to see of a version before an answer. Raises Refused if it is not the evidence that was `named`."""
    path = versions.version_folder(version) / record.FILE
    made = record.read(path)
    seen = Evidence(version, file_sha256(path), made)
    if named is not None and not re.fullmatch("[0-9a-f]{12,64}", named):
        raise WrongUse(f"--evidence is {named!r}: give 12 digits or more of the sha256 that was shown")
    if named is not None and not seen.sha256.startswith(named):
        raise Refused(f"the evidence of {version} is {seen.sha256} now, not {named}: look at it again")
    return seen


def approve(seen: Evidence, reason: str, check: Check) -> history.Entry:
    """Make champion what the gate let pass and a person has looked at."""
    version, decision = seen.version, decision_of(seen.record)
    registered = registration(version)
    _refuse_unless_waiting(version)
    if not decision.promote:
        raise Refused(f"{version} was held by the gate: `retune promote {version} --reason TEXT` takes it all the same")
    if registered.facts.get("Evidence") != seen.sha256:
        raise Refused(f"the record of {version} is not what was registered: `retune verify {version}` says more")
    _refuse_stale(version, decision)
    facts = check(version)  # takes seconds, in which another may answer
    with history.writing():
        version = _still_waiting(version)
        _refuse_stale(version, decision)
        failpoints.point("approve:before-history")
        told = {**registered.facts, **facts, "Flow-run": version.tags.get(FLOW_RUN, "none"), "Evidence": seen.sha256}
        answer = history.append(version.name, version.version, history.APPROVED, [reason], told, versions.anchor)
        failpoints.point("approve:before-champion")
        return promote_approved(version, answer)


def _still_waiting(version: versions.Version) -> versions.Version:
    """The version as the registry has it now. Raises Refused if somebody has answered meanwhile."""
    now = versions.find(version.name, version=version.version)
    _refuse_unless_waiting(now)
    return now


def _refuse_unless_waiting(version: versions.Version) -> None:
    told, answer = version.tags.get(DECIDED), history.read(version.name).answer(version.version)
    if told == AWAITING and answer and answer.event == history.REJECTED:
        told = REJECTED  # who said so was killed before the tag
    if told != AWAITING:
        raise Refused(
            f"{version} is not waiting for an answer: "
            + {
                None: "nothing was decided about it yet",
                CROWNED: "it became champion",
                HELD: f"it was held; `retune promote {version} --reason TEXT` takes it all the same",
                REJECTED: f"it was rejected; `retune promote {version} --reason TEXT` takes it all the same",
            }.get(told, f"its tag {DECIDED} is {told!r}")
        )


def _refuse_stale(version: versions.Version, decision: Decision) -> None:
    chain = history.read(version.name)
    now = as_things_stand(decision, version, chain)
    if not now.promote:
        raise Refused(f"{version} cannot be approved any more: {now.reasons[-1]}. `retune reject {version}` closes it")


def reject(seen: Evidence, reason: str) -> history.Entry:
    """A person says no: the version is challenger no more."""
    version = seen.version
    registered = registration(version)
    _refuse_unless_waiting(version)
    with history.writing():
        version = _still_waiting(version)
        failpoints.point("reject:before-history")
        told = {**registered.facts, "Flow-run": version.tags.get(FLOW_RUN, "none"), "Evidence": seen.sha256}
        answer = history.append(version.name, version.version, history.REJECTED, [reason], told, versions.anchor)
        carry_out_rejection(version, answer)
    return answer
