"""Carry the gate's decision out: the version becomes `champion`, or stays `challenger` with the reasons why.

The decision itself was made before the version was registered (`tasks.core.gate`) and stands in its record.
"""

from tasks.core import history, registry
from tasks.core.gate import Decision
from tasks.core.record import Record

DECIDED = "decision"


def promote(version: registry.Version, record: Record) -> Decision:
    """The history is written first, then the alias moves, then the version says so: a crash in between repeats it,
    and alike. Nobody is promoted over a champion that he was not compared with.
    """
    decision = _as_things_stand(decision_of(record), version)
    if decision.promote:
        entry = history.read(version.name).registered(version.version)
        facts = entry.facts if entry else {}
        history.append(version.name, version.version, history.CHAMPION, decision.reasons, facts, anchor=registry.anchor)
        registry.set_alias(version, registry.CHAMPION)
        registry.drop_alias(version, registry.CHALLENGER)
    reasons = {f"reason.{number}": reason for number, reason in enumerate(decision.reasons, 1)}
    registry.tag_version(version, {**reasons, DECIDED: "champion" if decision.promote else "held"})
    return decision


def decision_of(record: Record) -> Decision:
    gate = record["gate"]
    reasons = tuple(rival["reason"] for rival in gate["rivals"])
    return Decision(gate["decision"] == "champion", reasons, champion=gate["champion"])


def _as_things_stand(decision: Decision, version: registry.Version) -> Decision:
    champion = registry.champion(version.name)
    now = str(champion) if champion else None
    if not decision.promote or now in (decision.champion, str(version)):
        return decision
    moved = f"the champion is {now} now, not {decision.champion}, which this version was compared with"
    return Decision(False, (*decision.reasons, moved), champion=now)


def decided(version: registry.Version) -> Decision | None:
    """What was decided about a version before, if anything was."""
    answer = version.tags.get(DECIDED)
    reasons = tuple(text for name, text in sorted(version.tags.items()) if name.startswith("reason."))
    return Decision(answer == "champion", reasons) if answer else None
