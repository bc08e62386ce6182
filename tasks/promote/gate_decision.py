"""Carry out the gate's decision on a new version: champion, held, or awaiting approval.

The gate decided before the version was registered (`retune.promotion.gate`), and its decision stands in the record.
"""

from dataclasses import replace

from retune.lineage import history
from retune.lineage.record import Record, reasons_of
from retune.promotion.gate import Decision, PromoteConfig
from retune.registry import versions
from tasks.promote.succession import (
    AWAITING,
    HELD,
    carry_out_rejection,
    current_champion,
    describe_answer,
    set_champion,
    tag_decision,
)


def promote(version: versions.Version, record: Record, promote_config: PromoteConfig) -> Decision:
    """Carry out what the gate decided, or wait for a person if the params ask for one.

    No version is promoted over a champion that it was not compared with, and none twice: a rollback stays.
    """
    with history.writing():
        chain = history.read(version.name)
        answer = chain.answer(version.version)
        decision = with_current_champion(decision_of(record), version, chain)
        if answer and answer.event == history.REJECTED:
            carry_out_rejection(version, answer)
            return Decision(False, (*decision.reasons, describe_answer(answer)), champion=decision.champion)
        if decision.promote and promote_config.approval and not (answer or chain.served(version.version)):
            decision = replace(decision, promote=False, awaiting=True)
        if decision.promote:
            set_champion(version, history.PROMOTED, decision.reasons, decision.reasons)
        else:
            tag_decision(version, decision.reasons, AWAITING if decision.awaiting else HELD, decision.worse)
    return decision


def decision_of(record: Record) -> Decision:
    gate = record["gate"]
    worse = gate.get("worse", False)  # which records of schema 1 lack
    return Decision(gate["decision"] == "champion", reasons_of(gate), champion=gate["champion"], worse=worse)


def with_current_champion(decision: Decision, version: versions.Version, chain: history.Chain) -> Decision:
    """The decision, withdrawn if another version has become champion since, or this one was rolled back."""
    champion = current_champion(version.name, chain)
    if not decision.promote or champion == str(version):
        return decision
    if chain.served(version.version):
        reason = f"it was champion before, and {champion or 'nobody'} is now"
    elif champion in (decision.champion, None):
        return decision
    else:
        reason = f"the champion is {champion} now, not {decision.champion}, which this version was compared with"
    return replace(decision, promote=False, reasons=(*decision.reasons, reason), champion=champion)
