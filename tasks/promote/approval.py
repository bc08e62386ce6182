"""A person approves or rejects a version that the gate let pass and the parameters ask approval for."""

import re
from dataclasses import dataclass

from retune.errors import Refused, WrongUse
from retune.lineage import history
from retune.lineage import record as records
from retune.lineage.entry_facts import Fact
from retune.lineage.record import Record
from retune.promotion.gate import Decision
from retune.registry import versions
from retune.system import failpoints
from retune.system.files import file_sha256
from tasks.promote.gate_decision import decision_of, with_current_champion
from tasks.promote.succession import (
    AWAITING,
    DECIDED,
    HELD,
    PROMOTED,
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
    """Tag the version with the flow run that continues when somebody has decided."""
    versions.tag_version(version, {FLOW_RUN: flow_run_id})


def awaited_by(flow_run_id: str) -> versions.Version | None:
    """The version that a flow run waits, or has waited, for."""
    return next((version for version in versions.versions() if version.tags.get(FLOW_RUN) == flow_run_id), None)


def read_evidence(version: versions.Version, prefix: str | None) -> Evidence:
    """What a person answers to. Raises Refused if its sha256 does not begin with `prefix`, as it was shown."""
    path = versions.version_folder(version) / records.FILE
    evidence = Evidence(version, file_sha256(path), records.read(path))
    if prefix is not None and not re.fullmatch("[0-9a-f]{12,64}", prefix):
        raise WrongUse(f"--evidence is {prefix!r}: give 12 digits or more of the sha256 that was shown")
    if prefix is not None and not evidence.sha256.startswith(prefix):
        raise Refused(f"the evidence of {version} is {evidence.sha256} now, not {prefix}: look at it again")
    return evidence


def approve(evidence: Evidence, reason: str, check: Check) -> history.Entry:
    """A person says yes: the version that the gate let pass becomes champion."""
    version, decision = evidence.version, decision_of(evidence.record)
    registered = registration(version)
    _refuse_unless_waiting(version)
    if not decision.promote:
        raise Refused(f"{version} was held by the gate: `retune promote {version} --reason TEXT` takes it all the same")
    if registered.evidence != evidence.sha256:
        raise Refused(f"the record of {version} is not what was registered: `retune verify {version}` says more")
    _refuse_stale(version, decision)
    facts = check(version)  # takes seconds, in which another may answer
    with history.writing():
        version = _still_waiting(version)
        _refuse_stale(version, decision)
        failpoints.point("approve:before-history")
        facts = {**registered.facts, **facts, **_answer_facts(version, evidence)}
        answer = history.append(version.name, version.version, history.APPROVED, [reason], facts, versions.anchor)
        failpoints.point("approve:before-champion")
        return promote_approved(version, answer)


def _answer_facts(version: versions.Version, evidence: Evidence) -> dict[str, str]:
    return {Fact.FLOW_RUN: version.tags.get(FLOW_RUN, "none"), Fact.EVIDENCE: evidence.sha256}


def _still_waiting(version: versions.Version) -> versions.Version:
    """The version as the registry has it now. Raises Refused if somebody has answered meanwhile."""
    current = versions.find(version.name, version=version.version)
    _refuse_unless_waiting(current)
    return current


def _refuse_unless_waiting(version: versions.Version) -> None:
    decision, answer = version.tags.get(DECIDED), history.read(version.name).answer(version.version)
    if decision == AWAITING and answer and answer.event == history.REJECTED:
        decision = REJECTED  # the process that rejected it was killed before the tag
    if decision != AWAITING:
        raise Refused(
            f"{version} is not waiting for an answer: "
            + {
                None: "nothing was decided about it yet",
                PROMOTED: "it became champion",
                HELD: f"it was held; `retune promote {version} --reason TEXT` takes it all the same",
                REJECTED: f"it was rejected; `retune promote {version} --reason TEXT` takes it all the same",
            }.get(decision, f"its tag {DECIDED} is {decision!r}")
        )


def _refuse_stale(version: versions.Version, decision: Decision) -> None:
    chain = history.read(version.name)
    current = with_current_champion(decision, version, chain)
    if not current.promote:
        raise Refused(
            f"{version} cannot be approved any more: {current.reasons[-1]}. `retune reject {version}` closes it"
        )


def reject(evidence: Evidence, reason: str) -> history.Entry:
    """A person says no: the version is challenger no more."""
    version = evidence.version
    registered = registration(version)
    _refuse_unless_waiting(version)
    with history.writing():
        version = _still_waiting(version)
        failpoints.point("reject:before-history")
        facts = {**registered.facts, **_answer_facts(version, evidence)}
        answer = history.append(version.name, version.version, history.REJECTED, [reason], facts, versions.anchor)
        carry_out_rejection(version, answer)
    return answer
