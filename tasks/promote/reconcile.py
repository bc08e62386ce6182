"""Repair, from the history, what a crash or another tool has left of aliases and tags."""

from collections.abc import Iterator

from retune.errors import RetuneError
from retune.lineage import history
from retune.registry import backend, reload_check, versions
from tasks.promote.succession import (
    CROWNED,
    DECIDED,
    HELD,
    REJECTED,
    describe_answer,
    promote_approved,
    recorded_reasons,
    tag_decision,
)


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
            promote_approved(version, answer)
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
            late = f"{describe_answer(entry)}; another version became champion before it did"
            tag_decision(version, [*recorded_reasons(version), late], HELD)
        else:
            why = entry.why if entry.event == history.CHAMPION else [describe_answer(entry)]
            tag_decision(version, [*recorded_reasons(version), *why], tags[entry.event])
        yield f"{version} said {told or 'nothing'} of what was decided about it; the history says {entry.event}"


def _tell_unfinished(chain: history.Chain, there: Versions) -> Iterator[str]:
    for number, version in sorted(there.items()):
        what = "" if {reload_check.RELOADED, reload_check.REFUSED} & set(version.tags) else "was never loaded again"
        if what := what if chain.registered(number) else "is in no history":
            yield f"{version} {what}: the run that made it was cut off, and goes on there when it is run again"
