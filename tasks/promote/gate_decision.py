"""Who is champion: by the gate's decision, by a person's approval, by hand, or by going back.

The gate's decision was made before the version was registered (`retune.promotion.gate`) and stands in its record.
Whoever decides, it goes the same way, under the lock of the history: an entry in the history, then the alias, then the
tags of the version. The history is the truth. What a crash leaves half done is done again, or repaired by `reconcile`.

What must hold before a person's word moves an alias is handed in as `check`: see `fit_to_serve`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from retune.data import suppression
from retune.errors import Refused, RetuneError, WrongUse
from retune.lineage import ancestry, history, record
from retune.lineage.record import Record, reasons_of
from retune.promotion.gate import Decision, PromoteConfig
from retune.registry import backend, clean_process, reload_check, versions
from retune.system import dvc_store, failpoints, git
from retune.system.files import file_sha256

WORSE = "worse"  # tag of a version that the gate found surely worse than the champion
DECIDED = "decision"  # tag of a version: one of the next four
CROWNED, HELD, AWAITING, REJECTED = "champion", "held", "awaiting", "rejected"
REASON = "reason."
FLOW_RUN = "approval.flow_run"  # tag of a version: the flow run that is suspended until somebody decides

Check = Callable[[versions.Version], dict[str, str]]  # facts for the history; raises Refused if it must not serve


@dataclass(frozen=True)
class Evidence:
    """What a person looks at before an answer: the record, and its hash as its bytes are now."""

    version: versions.Version
    sha256: str
    record: Record


# ---------------------------------------------------------------- by the gate


def promote(version: versions.Version, made: Record, section: PromoteConfig) -> Decision:
    """Carry out what the gate decided, or wait for a person if the params ask for one.

    Nobody is promoted over a champion that he was not compared with, and nobody twice: what was rolled back stays so.
    """
    with history.writing():
        chain = history.read(version.name)
        answer = chain.answer(version.version)
        decision = _as_things_stand(decision_of(made), version, chain)
        if answer and answer.event == history.REJECTED:
            _reject(version, answer)
            return Decision(False, (*decision.reasons, _by(answer)), champion=decision.champion)
        if decision.promote and section.approval and not (answer or chain.served(version.version)):
            decision = replace(decision, promote=False, awaiting=True)
        if decision.promote:
            _set_champion(version, history.PROMOTED, decision.reasons, decision.reasons)
        else:
            _tell(version, decision.reasons, AWAITING if decision.awaiting else HELD, decision.worse)
    return decision


def decision_of(made: Record) -> Decision:
    gate = made["gate"]
    worse = gate.get("worse", False)  # which records of schema 1 lack
    return Decision(gate["decision"] == "champion", reasons_of(made), champion=gate["champion"], worse=worse)


def _as_things_stand(decision: Decision, version: versions.Version, chain: history.Chain) -> Decision:
    now = _champion(version.name, chain)
    if not decision.promote or now == str(version):
        return decision
    if chain.served(version.version):
        moved = f"it was champion before, and {now or 'nobody'} is now"
    elif now in (decision.champion, None):
        return decision
    else:
        moved = f"the champion is {now} now, not {decision.champion}, which this version was compared with"
    return replace(decision, promote=False, reasons=(*decision.reasons, moved), champion=now)


def _champion(name: str, chain: history.Chain) -> str | None:
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
    return Decision(answer == CROWNED, _reasons(version), awaiting=answer == AWAITING, worse=WORSE in version.tags)


def _reasons(version: versions.Version) -> tuple[str, ...]:
    numbers = sorted(int(tag.removeprefix(REASON)) for tag in version.tags if tag.startswith(REASON))
    return tuple(version.tags[f"{REASON}{number}"] for number in numbers)


def _set_champion(
    version: versions.Version, how: str, why: Sequence[str], reasons: Sequence[str], facts: dict[str, str] | None = None
) -> history.Entry:
    """The history is written first, then the alias moves, then the version says so: a crash in between repeats it,
    and alike."""
    own = _registered(version).facts
    failpoints.point("promote:before-history")
    told = {**own, history.HOW: how, **(facts or {})}
    entry = history.append(version.name, version.version, history.CHAMPION, why, told, versions.anchor)
    failpoints.point("promote:before-alias")
    versions.set_alias(version, versions.CHAMPION)
    failpoints.point("promote:before-challenger")
    versions.drop_alias(version, versions.CHALLENGER)
    failpoints.point("promote:before-tags")
    _tell(version, reasons, CROWNED)
    return entry


def _tell(version: versions.Version, reasons: Sequence[str], answer: str, worse: bool = False) -> None:
    numbered = {f"{REASON}{number}": reason for number, reason in enumerate(dict.fromkeys(reasons), 1)}
    versions.tag_version(version, {**numbered, **({WORSE: "true"} if worse else {}), DECIDED: answer})


def _registered(version: versions.Version) -> history.Entry:
    entry = history.read(version.name).registered(version.version)
    if not entry:
        raise Refused(f"{version} has no entry in the history: its run was cut off; run that again, it goes on there")
    return entry


# ---------------------------------------------------------------- by hand, and back


def promote_manually(version: versions.Version, reason: str, check: Check) -> history.Entry:
    """Make a version champion because a person says so, whatever the gate said."""
    before = _champion(version.name, history.read(version.name))
    if before == str(version):
        raise Refused(f"{version} is champion already: nothing was changed")
    if version.tags.get(DECIDED) == AWAITING:
        raise Refused(f"{version} is waiting for an answer: `retune approve {version} --reason TEXT` gives it")
    return _serve(version, history.BY_HAND, reason, before, check)


def roll_back(name: str, number: int | None, reason: str, check: Check) -> history.Entry:
    """Make an earlier champion champion again: the one before the present one, or version `number`."""
    chain = history.read(name)
    before = _champion(name, chain)
    return _serve(_earlier(chain, number), history.ROLLBACK, reason, before, check)


def _earlier(chain: history.Chain, number: int | None) -> versions.Version:
    there = {version.version: version for version in versions.versions(chain.model)}
    crowned, crowns = chain.champion(), chain.crowns()
    if not crowned:
        raise Refused(f"{chain.model} has no champion, so there is nothing to go back from")
    if number is None:
        number = next((each for each in reversed(crowns[:-1]) if each in there), None)
        if number is None:
            raise Refused(f"{chain.model} had no champion before {chain.model}/{crowned.version} that is still there")
    wanted = f"{chain.model}/{number}"
    if number == crowned.version and number in there:
        raise Refused(f"{wanted} is champion already: nothing was changed")
    if not chain.served(number):
        what = "never was champion" if chain.registered(number) else "is no version that the history knows"
        raise Refused(f"{wanted} {what}: `retune history {chain.model}` lists who was")
    if number not in there:
        raise Refused(f"{wanted} was champion, but somebody has deleted it from {backend.address()}")
    return there[number]


def _serve(version: versions.Version, how: str, reason: str, before: str | None, check: Check) -> history.Entry:
    _registered(version)
    facts = check(version)  # takes seconds, so others may write meanwhile
    with history.writing():
        _refuse_if_moved(version, before)
        by = f"{how}, {git.identity()}: {reason}"
        return _set_champion(version, how, [reason], [*_reasons(version), by], facts)


def _refuse_if_moved(version: versions.Version, before: str | None) -> None:
    now = _champion(version.name, history.read(version.name))
    if now != before:
        raise Refused(f"the champion is {now} now, no longer {before}: look again whether {version} is still wanted")


def fit_to_serve(version: versions.Version, reader: clean_process.Reader, even_forgotten: bool) -> dict[str, str]:
    """What a version must pass before a person may make it champion, and what the history says of that.

    Its files are those that were registered; it did not learn from a row that must not be learned from; loaded in the
    clean process `reader` it predicts as recorded.
    """
    made = record.read(versions.checked_folder(version) / record.FILE)
    forgotten = _forgotten(version, even_forgotten)
    return {"Checked": reload_check.says_the_same(version, made, reader), **forgotten}


def _forgotten(version: versions.Version, even_forgotten: bool) -> dict[str, str]:
    listed = suppression.read()
    if not listed.rows:
        return {}
    try:
        entry = history.read(version.name).registered(version.version)
        if entry is None:
            raise ancestry.UnknownAncestor(f"{version} is in no history")
        count = ancestry.forgotten(entry, listed)
        told = f"{count} {'row' if count == 1 else 'rows'} it learned from must not be learned from any more"
    except (dvc_store.MissingBytes, ancestry.UnknownAncestor) as error:
        count, told = None, f"nobody can say whether it learned from a row that must not be learned from: {error}"
    if count == 0:
        return {}
    if not even_forgotten:
        raise Refused(
            f"{version} must not serve: {told}. Go back to another version, or make one by `retune run`; "
            "--even-forgotten takes it all the same, and the history will say so"
        )
    return {"Forgotten": told}


# ---------------------------------------------------------------- by approval


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
    registered = _registered(version)
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
        return _set_approved_champion(version, answer)


def _set_approved_champion(version: versions.Version, answer: history.Entry) -> history.Entry:
    reasons = [*_reasons(version), _by(answer)]
    facts = {key: told for key, told in answer.facts.items() if key in ("Checked", "Forgotten")}
    return _set_champion(version, history.PROMOTED, reasons, reasons, facts)


def _by(answer: history.Entry) -> str:
    return f"{answer.event} by {answer.by}: {'; '.join(answer.why)}"


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
    now = _as_things_stand(decision, version, chain)
    if not now.promote:
        raise Refused(f"{version} cannot be approved any more: {now.reasons[-1]}. `retune reject {version}` closes it")


def reject(seen: Evidence, reason: str) -> history.Entry:
    """A person says no: the version is challenger no more."""
    version = seen.version
    registered = _registered(version)
    _refuse_unless_waiting(version)
    with history.writing():
        version = _still_waiting(version)
        failpoints.point("reject:before-history")
        told = {**registered.facts, "Flow-run": version.tags.get(FLOW_RUN, "none"), "Evidence": seen.sha256}
        answer = history.append(version.name, version.version, history.REJECTED, [reason], told, versions.anchor)
        _reject(version, answer)
    return answer


def _reject(version: versions.Version, answer: history.Entry) -> None:
    failpoints.point("reject:before-challenger")
    versions.drop_alias(version, versions.CHALLENGER)
    failpoints.point("reject:before-tags")
    _tell(version, [*_reasons(version), _by(answer)], REJECTED)


# ---------------------------------------------------------------- after a crash


def reconcile(name: str) -> list[str]:
    """Repair, from the history, what a crash or a stranger's hand has left of aliases and tags; in words what was done.

    Raises Refused if the history itself has lost entries: nothing is repaired from it.
    """
    with history.writing():
        chain, done = history.read(name), []
        if versions.anchor(chain):  # a crash came between an entry and the registry's word for it
            assert chain.last
            done.append(f"the registry did not know the last entry of the history yet, {chain.last.tag}: it does now")
        if not chain.entries:
            return []
        for repair in (_finish_approvals, _mend_champion, _mend_challenger, _mend_tags, _tell_unfinished):
            done += repair(chain, {version.version: version for version in versions.versions(name)})
            chain = history.read(name) if done else chain
        return done


Versions = dict[int, versions.Version]


def _finish_approvals(chain: history.Chain, there: Versions) -> Iterator[str]:
    crowned = chain.champion()
    for answer in chain.entries:
        version = there.get(answer.version)
        left = answer.event == history.APPROVED and (not crowned or crowned.number < answer.number)
        if left and version and chain.answer(answer.version) == answer:
            try:
                versions.checked_folder(version)
            except RetuneError as error:
                yield f"{version} was approved, but cannot serve: {error}"
                continue
            _set_approved_champion(version, answer)
            yield f"{version} was approved and not made champion yet: it is now"


def _mend_champion(chain: history.Chain, there: Versions) -> Iterator[str]:
    crowned = chain.champion()
    holder = next((version for version in there.values() if versions.CHAMPION in version.aliases), None)
    if not crowned:
        if holder:
            versions.drop_alias(holder, versions.CHAMPION)
            yield f"{holder} was called champion, of which the history knows nothing: it is not any more"
        return
    version = there.get(crowned.version)
    if holder == version:
        if not version:
            gone = f"the champion {chain.model}/{crowned.version} was deleted from {backend.address()}"
            yield f"{gone}: `retune rollback {chain.model} --reason TEXT` brings the one before back"
        return
    where = f"stood on {holder}" if holder else "stood nowhere"
    if not version:
        assert holder
        versions.drop_alias(holder, versions.CHAMPION)
        yield f"the alias champion {where}; the history says {chain.model}/{crowned.version}, which was deleted"
        return
    try:
        versions.checked_folder(version)
    except RetuneError as error:
        yield f"the alias champion {where} and was left there; the history says {version}, but: {error}"
        return
    versions.set_alias(version, versions.CHAMPION)
    yield f"the alias champion {where}; the history says {version}: moved there"


def _mend_challenger(chain: history.Chain, there: Versions) -> Iterator[str]:
    holder = next((version for version in there.values() if versions.CHALLENGER in version.aliases), None)
    called = [version for number, version in there.items() if versions.CHALLENGER in chain.aliases(number)]
    rival = next((version for version in called if reload_check.REFUSED not in version.tags), None)
    if rival and reload_check.RELOADED not in rival.tags:  # it may be on its way right now
        rival = holder if holder and not _out(chain, holder) else None
    if rival == holder:
        return
    if rival:
        versions.set_alias(rival, versions.CHALLENGER)
        yield f"the alias challenger stood {f'on {holder}' if holder else 'nowhere'}: moved to {rival}"
    elif holder:
        versions.drop_alias(holder, versions.CHALLENGER)
        yield f"{holder} is challenger no more: the history says so"


def _out(chain: history.Chain, version: versions.Version) -> bool:
    answer = chain.answer(version.version)
    return bool(chain.served(version.version)) or (answer is not None and answer.event == history.REJECTED)


def _mend_tags(chain: history.Chain, there: Versions) -> Iterator[str]:
    tags, crowned = {history.CHAMPION: CROWNED, history.REJECTED: REJECTED}, chain.champion()
    last = {entry.version: entry for entry in chain.entries if entry.event in (*tags, history.APPROVED)}
    for number, version in there.items():
        entry, told = last.get(number), version.tags.get(DECIDED)
        if not entry or told == tags.get(entry.event, HELD):
            continue
        if entry.event == history.APPROVED:
            if not (crowned and crowned.number > entry.number):
                continue  # it cannot serve, which was said
            late = f"{_by(entry)}; another version became champion before it did"
            _tell(version, [*_reasons(version), late], HELD)
        else:
            why = entry.why if entry.event == history.CHAMPION else [_by(entry)]
            _tell(version, [*_reasons(version), *why], tags[entry.event])
        yield f"{version} said {told or 'nothing'} of what was decided about it; the history says {entry.event}"


def _tell_unfinished(chain: history.Chain, there: Versions) -> Iterator[str]:
    for number, version in sorted(there.items()):
        what = "" if {reload_check.RELOADED, reload_check.REFUSED} & set(version.tags) else "was never loaded again"
        if what := what if chain.registered(number) else "is in no history":
            yield f"{version} {what}: the run that made it was cut off, and goes on there when it is run again"
