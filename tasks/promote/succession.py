"""Who is champion, and how a version becomes champion or loses that chance.

Every way goes through here, under the lock of the history: an entry in the history first, then the alias, then the
tags of the version. The history is the truth. What a crash leaves half done is repeated, or repaired by `reconcile`.
"""

from collections.abc import Callable, Sequence

from retune.errors import Refused
from retune.lineage import history
from retune.lineage.entry_facts import Fact
from retune.promotion.gate import Decision
from retune.registry import versions
from retune.system import failpoints

WORSE = "worse"  # tag of a version that the gate found surely worse than the champion
DECIDED = "decision"  # tag of a version: one of the next four
PROMOTED, HELD, AWAITING, REJECTED = "champion", "held", "awaiting", "rejected"
REASON = "reason."
Check = Callable[[versions.Version], dict[str, str]]  # facts for the history; raises Refused if it must not serve


def current_champion(name: str, chain: history.Chain) -> str | None:
    """The champion by the history; none if somebody has deleted that version since."""
    entry = chain.champion()
    existing = {version.version: version for version in versions.versions(name)}
    if entry:
        return f"{name}/{entry.version}" if entry.version in existing else None
    return next((str(version) for version in existing.values() if versions.CHAMPION in version.aliases), None)


def decided(version: versions.Version) -> Decision | None:
    """The decision that a version is tagged with, if it has one."""
    answer = version.tags.get(DECIDED)
    if not answer:
        return None
    return Decision(
        answer == PROMOTED, recorded_reasons(version), awaiting=answer == AWAITING, worse=WORSE in version.tags
    )


def recorded_reasons(version: versions.Version) -> tuple[str, ...]:
    numbers = sorted(int(tag.removeprefix(REASON)) for tag in version.tags if tag.startswith(REASON))
    return tuple(version.tags[f"{REASON}{number}"] for number in numbers)


def set_champion(
    version: versions.Version, how: str, why: Sequence[str], reasons: Sequence[str], facts: dict[str, str] | None = None
) -> history.Entry:
    """Write the history first, then move the alias, then tag the version. After a crash in between, the same call
    completes it."""
    all_facts = {**registration(version).facts, Fact.HOW: how, **(facts or {})}
    failpoints.point("promote:before-history")
    entry = history.append(version.name, version.version, history.CHAMPION, why, all_facts, versions.anchor)
    failpoints.point("promote:before-alias")
    versions.set_alias(version, versions.CHAMPION)
    failpoints.point("promote:before-challenger")
    versions.drop_alias(version, versions.CHALLENGER)
    failpoints.point("promote:before-tags")
    tag_decision(version, reasons, PROMOTED)
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
    facts = {key: value for key, value in answer.facts.items() if key in (Fact.CHECKED, Fact.FORGOTTEN, Fact.GOLDEN)}
    return set_champion(version, history.PROMOTED, reasons, reasons, facts)


def describe_answer(answer: history.Entry) -> str:
    return f"{answer.event} by {answer.by}: {'; '.join(answer.why)}"


def carry_out_rejection(version: versions.Version, answer: history.Entry) -> None:
    failpoints.point("reject:before-challenger")
    versions.drop_alias(version, versions.CHALLENGER)
    failpoints.point("reject:before-tags")
    tag_decision(version, [*recorded_reasons(version), describe_answer(answer)], REJECTED)
