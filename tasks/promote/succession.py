"""Who is champion, and how a version becomes champion or loses that chance.

Every way goes through here, under the lock of the history: an entry in the history first, then the alias, then the
tags of the version. The history is the truth. What a crash leaves half done is repeated, or repaired by `reconcile`.
"""

from collections.abc import Callable, Sequence

from retune.errors import Refused
from retune.lineage import history
from retune.promotion.gate import Decision
from retune.registry import versions
from retune.system import failpoints

WORSE = "worse"  # tag of a version that the gate found surely worse than the champion
DECIDED = "decision"  # tag of a version: one of the next four
CROWNED, HELD, AWAITING, REJECTED = "champion", "held", "awaiting", "rejected"
REASON = "reason."
Check = Callable[[versions.Version], dict[str, str]]  # facts for the history; raises Refused if it must not serve


def current_champion(name: str, chain: history.Chain) -> str | None:
    """The champion by the history; none if somebody has deleted that version since."""
    crowned = chain.champion()
    there = {version.version: version for version in versions.versions(name)}
    if crowned:
        return f"{name}/{crowned.version}" if crowned.version in there else None
    return next((str(version) for version in there.values() if versions.CHAMPION in version.aliases), None)


def decided(version: versions.Version) -> Decision | None:
    """What was decided about a version before, if anything was."""
    answer = version.tags.get(DECIDED)
    if not answer:
        return None
    return Decision(
        answer == CROWNED, recorded_reasons(version), awaiting=answer == AWAITING, worse=WORSE in version.tags
    )


def recorded_reasons(version: versions.Version) -> tuple[str, ...]:
    numbers = sorted(int(tag.removeprefix(REASON)) for tag in version.tags if tag.startswith(REASON))
    return tuple(version.tags[f"{REASON}{number}"] for number in numbers)


def set_champion(
    version: versions.Version, how: str, why: Sequence[str], reasons: Sequence[str], facts: dict[str, str] | None = None
) -> history.Entry:
    """The history is written first, then the alias moves, then the version says so: a crash in between repeats it,
    and alike."""
    own = registration(version).facts
    failpoints.point("promote:before-history")
    told = {**own, history.HOW: how, **(facts or {})}
    entry = history.append(version.name, version.version, history.CHAMPION, why, told, versions.anchor)
    failpoints.point("promote:before-alias")
    versions.set_alias(version, versions.CHAMPION)
    failpoints.point("promote:before-challenger")
    versions.drop_alias(version, versions.CHALLENGER)
    failpoints.point("promote:before-tags")
    tag_decision(version, reasons, CROWNED)
    return entry


def tag_decision(version: versions.Version, reasons: Sequence[str], answer: str, worse: bool = False) -> None:
    numbered = {f"{REASON}{number}": reason for number, reason in enumerate(dict.fromkeys(reasons), 1)}
    versions.tag_version(version, {**numbered, **({WORSE: "true"} if worse else {}), DECIDED: answer})


def registration(version: versions.Version) -> history.Entry:
    entry = history.read(version.name).registered(version.version)
    if not entry:
        raise Refused(f"{version} has no entry in the history: its run was cut off; run that again, it goes on there")
    return entry


def promote_approved(version: versions.Version, answer: history.Entry) -> history.Entry:
    reasons = [*recorded_reasons(version), describe_answer(answer)]
    facts = {key: told for key, told in answer.facts.items() if key in ("Checked", "Forgotten")}
    return set_champion(version, history.PROMOTED, reasons, reasons, facts)


def describe_answer(answer: history.Entry) -> str:
    return f"{answer.event} by {answer.by}: {'; '.join(answer.why)}"


def carry_out_rejection(version: versions.Version, answer: history.Entry) -> None:
    failpoints.point("reject:before-challenger")
    versions.drop_alias(version, versions.CHALLENGER)
    failpoints.point("reject:before-tags")
    tag_decision(version, [*recorded_reasons(version), describe_answer(answer)], REJECTED)
