"""Repair, from the history, what a crash or another tool has left of aliases and tags.

`CASES` is the table: what the history says, what the registry says, and the repair, which yields a sentence for each
version that it repaired. Cases that only report need a person or the next run.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from retune.errors import RetuneError
from retune.lineage import history
from retune.registry import backend, reload_check, versions
from retune.registry.versions import CHALLENGER, CHAMPION, Version
from tasks.promote.succession import (
    DECIDED,
    HELD,
    PROMOTED,
    REJECTED,
    describe_answer,
    promote_approved,
    recorded_reasons,
    tag_decision,
)

TAG_OF_EVENT = {history.CHAMPION: PROMOTED, history.REJECTED: REJECTED}


@dataclass(frozen=True)
class State:
    """What the history says of a model, and the versions that the registry has."""

    chain: history.Chain
    existing: dict[int, Version]

    @classmethod
    def read(cls, name: str) -> "State":
        return cls(history.read(name), {version.version: version for version in versions.versions(name)})

    def holder(self, alias: str) -> Version | None:
        return next((version for version in self.existing.values() if alias in version.aliases), None)

    @cached_property
    def champion(self) -> history.Entry | None:
        return self.chain.champion()

    @property
    def champion_version(self) -> Version | None:
        """The champion by the history; None if there is none, or somebody has deleted it."""
        return self.existing.get(self.champion.version) if self.champion else None

    @cached_property
    def challenger(self) -> Version | None:
        """The version that has to be challenger: reloaded, and neither refused, promoted nor rejected since."""
        candidates = (each for number, each in self.existing.items() if CHALLENGER in self.chain.aliases(number))
        newest = next((version for version in candidates if reload_check.REFUSED not in version.tags), None)
        if newest and reload_check.RELOADED not in newest.tags:  # a run may be reloading it right now
            holder = self.holder(CHALLENGER)
            return holder if holder and not self._is_decided(holder) else None
        return newest

    def _is_decided(self, version: Version) -> bool:
        answer = self.chain.answer(version.version)
        return bool(self.chain.served(version.version)) or (answer is not None and answer.event == history.REJECTED)


@dataclass(frozen=True)
class Case:
    """One way in which history and registry disagree."""

    history: str
    registry: str
    repair: Callable[[State], Iterator[str]]
    only_reports: bool = False


def reconcile(name: str) -> list[str]:
    """Repair aliases and tags from the history; a sentence for each repair, and for each that needs somebody else.

    Raises Refused if the history itself has lost entries: nothing is repaired from it.
    """
    with history.writing():
        state, sentences = State.read(name), []
        if versions.anchor(state.chain):  # a crash came between an entry and its head in the registry
            assert state.chain.last
            tag = state.chain.last.tag
            sentences.append(f"the registry did not know the last entry of the history yet, {tag}: it does now")
        if not state.chain.entries:
            return []
        for case in CASES:
            repairs = list(case.repair(state))
            sentences += repairs
            if repairs and not case.only_reports:
                state = State.read(name)
        return sentences


def _promote_approved(state: State) -> Iterator[str]:
    for answer in state.chain.entries:
        version = state.existing.get(answer.version)
        pending = answer.event == history.APPROVED and not _is_overtaken(state, answer)
        if not version or not pending or state.chain.answer(answer.version) != answer:
            continue
        if problem := _problem(version):
            yield f"{version} was approved, but cannot serve: {problem}"
        else:
            promote_approved(version, answer)
            yield f"{version} was approved and not made champion yet: it is now"


def _is_overtaken(state: State, answer: history.Entry) -> bool:
    return state.champion is not None and state.champion.number > answer.number


def _problem(version: Version) -> str | None:
    """Why the files of a version cannot serve."""
    try:
        versions.checked_folder(version)
    except RetuneError as error:
        return str(error)
    return None


def _drop_unknown_champion(state: State) -> Iterator[str]:
    holder = state.holder(CHAMPION)
    if not state.champion and holder:
        versions.drop_alias(holder, CHAMPION)
        yield f"{holder} was called champion, of which the history knows nothing: it is not any more"


def _report_deleted_champion(state: State) -> Iterator[str]:
    if state.champion and not state.champion_version and not state.holder(CHAMPION):
        name = state.chain.model
        yield (
            f"the champion {name}/{state.champion.version} was deleted from {backend.address()}: "
            f"`retune rollback {name} --reason TEXT` brings the one before back"
        )


def _drop_alias_of_deleted_champion(state: State) -> Iterator[str]:
    holder = state.holder(CHAMPION)
    if state.champion and not state.champion_version and holder:
        versions.drop_alias(holder, CHAMPION)
        champion = f"{state.chain.model}/{state.champion.version}"
        yield f"the alias champion stood on {holder}; the history says {champion}, which was deleted"


def _move_champion(state: State) -> Iterator[str]:
    version, holder = state.champion_version, state.holder(CHAMPION)
    if not version or version == holder:
        return
    place = f"stood on {holder}" if holder else "stood nowhere"
    if problem := _problem(version):
        yield f"the alias champion {place} and was left there; the history says {version}, but: {problem}"
    else:
        versions.set_alias(version, CHAMPION)
        yield f"the alias champion {place}; the history says {version}: moved there"


def _move_challenger(state: State) -> Iterator[str]:
    holder = state.holder(CHALLENGER)
    if state.challenger and state.challenger != holder:
        versions.set_alias(state.challenger, CHALLENGER)
        yield f"the alias challenger stood {f'on {holder}' if holder else 'nowhere'}: moved to {state.challenger}"


def _drop_challenger(state: State) -> Iterator[str]:
    holder = state.holder(CHALLENGER)
    if not state.challenger and holder:
        versions.drop_alias(holder, CHALLENGER)
        yield f"{holder} is challenger no more: the history says so"


def _decisions(state: State) -> Iterator[tuple[Version, history.Entry]]:
    """Each version with the last entry that decided about it."""
    events = (*TAG_OF_EVENT, history.APPROVED)
    last = {entry.version: entry for entry in state.chain.entries if entry.event in events}
    return ((version, last[number]) for number, version in state.existing.items() if number in last)


def _tag_decided(state: State) -> Iterator[str]:
    for version, entry in _decisions(state):
        tag = TAG_OF_EVENT.get(entry.event)
        if tag and version.tags.get(DECIDED) != tag:
            reasons = entry.why if entry.event == history.CHAMPION else [describe_answer(entry)]
            tag_decision(version, [*recorded_reasons(version), *reasons], tag)
            yield _describe_tag(version, entry)


def _tag_overtaken(state: State) -> Iterator[str]:
    for version, entry in _decisions(state):
        overtaken = entry.event == history.APPROVED and _is_overtaken(state, entry)
        if overtaken and version.tags.get(DECIDED) != HELD:
            reason = f"{describe_answer(entry)}; another version became champion before it did"
            tag_decision(version, [*recorded_reasons(version), reason], HELD)
            yield _describe_tag(version, entry)


def _describe_tag(version: Version, entry: history.Entry) -> str:
    tag = version.tags.get(DECIDED, "nothing")
    return f"{version} said {tag} of what was decided about it; the history says {entry.event}"


def _report_unfinished(state: State) -> Iterator[str]:
    for number, version in sorted(state.existing.items()):
        reloaded = {reload_check.RELOADED, reload_check.REFUSED} & set(version.tags)
        if state.chain.registered(number) and not reloaded:
            yield _describe_unfinished(version, "was never loaded again")


def _report_unregistered(state: State) -> Iterator[str]:
    for number, version in sorted(state.existing.items()):
        if not state.chain.registered(number):
            yield _describe_unfinished(version, "is in no history")


def _describe_unfinished(version: Version, state: str) -> str:
    return f"{version} {state}: the run that made it was cut off, and goes on there when it is run again"


CASES = (
    Case("approved, and nobody champion since", "not champion", _promote_approved),
    Case("no champion", "alias champion on a version", _drop_unknown_champion),
    Case("a champion that was deleted", "no alias champion", _report_deleted_champion, only_reports=True),
    Case("a champion that was deleted", "alias champion on another version", _drop_alias_of_deleted_champion),
    Case("a champion", "alias champion on another version, or on none", _move_champion),
    Case("a challenger", "alias challenger on another version, or on none", _move_challenger),
    Case("no challenger", "alias challenger on a version", _drop_challenger),
    Case("became champion, or rejected", "tag of another decision, or none", _tag_decided),
    Case("approved, and another champion since", "not tagged as held", _tag_overtaken),
    Case("registered", "never reloaded", _report_unfinished, only_reports=True),
    Case("no entry", "a version", _report_unregistered, only_reports=True),
)
