"""A person makes a version champion, whatever the gate decided, or rolls back to an earlier champion.

What must hold before a person's decision moves an alias is passed in as `check`: see `fit_to_serve`.
"""

from retune.data import suppression
from retune.errors import Refused
from retune.lineage import ancestry, history
from retune.lineage import record as records
from retune.lineage.entry_facts import Fact
from retune.promotion import golden_guardrail
from retune.registry import backend, clean_process, reload_check, versions
from retune.system import dvc_store, git
from tasks.promote.succession import (
    AWAITING,
    DECIDED,
    Check,
    current_champion,
    recorded_reasons,
    registration,
    set_champion,
)


def promote_manually(version: versions.Version, reason: str, check: Check) -> history.Entry:
    """Make a version champion because a person decides so, whatever the gate decided."""
    before = current_champion(version.name, history.read(version.name))
    if before == str(version):
        raise Refused(f"{version} is champion already: nothing was changed")
    if version.tags.get(DECIDED) == AWAITING:
        raise Refused(f"{version} is waiting for an answer: `retune approve {version} --reason TEXT` gives it")
    return _serve(version, history.BY_HAND, reason, before, check)


def roll_back(name: str, number: int | None, reason: str, check: Check) -> history.Entry:
    """Make an earlier champion champion again: the one before the present one, or version `number`."""
    chain = history.read(name)
    before = current_champion(name, chain)
    return _serve(_earlier(chain, number), history.ROLLBACK, reason, before, check)


def _earlier(chain: history.Chain, number: int | None) -> versions.Version:
    """The version to go back to. Raises Refused if there is none, or version `number` never was champion."""
    existing = {version.version: version for version in versions.versions(chain.model)}
    champion, succession = chain.champion(), chain.succession()
    if not champion:
        raise Refused(f"{chain.model} has no champion, so there is nothing to go back from")
    if number is None:
        number = next((each for each in reversed(succession[:-1]) if each in existing), None)
        if number is None:
            raise Refused(f"{chain.model} had no champion before {chain.model}/{champion.version} that is still there")
    reference = f"{chain.model}/{number}"
    if number == champion.version and number in existing:
        raise Refused(f"{reference} is champion already: nothing was changed")
    if not chain.served(number):
        problem = "never was champion" if chain.registered(number) else "is no version that the history knows"
        raise Refused(f"{reference} {problem}: `retune history {chain.model}` lists who was")
    if number not in existing:
        raise Refused(f"{reference} was champion, but somebody has deleted it from {backend.address()}")
    return existing[number]


def _serve(version: versions.Version, how: str, reason: str, before: str | None, check: Check) -> history.Entry:
    registration(version)
    facts = check(version)  # takes seconds, so others may write meanwhile
    with history.writing():
        _refuse_if_moved(version, before)
        by = f"{how}, {git.identity()}: {reason}"
        return set_champion(version, how, [reason], [*recorded_reasons(version), by], facts)


def _refuse_if_moved(version: versions.Version, before: str | None) -> None:
    current = current_champion(version.name, history.read(version.name))
    if current != before:
        raise Refused(
            f"the champion is {current} now, no longer {before}: look again whether {version} is still wanted"
        )


def fit_to_serve(version: versions.Version, reader: clean_process.Reader, even_forgotten: bool) -> dict[str, str]:
    """Check a version before a person may make it champion. Returns facts for the history.

    Its files are those that were registered; it learned from no suppressed row; loaded in the clean process `reader`,
    it predicts as recorded. Raises Refused if it fails.
    """
    record = records.read(versions.checked_folder(version) / records.FILE)
    suppressed = _suppressed_rows(version, even_forgotten)
    return {Fact.CHECKED: reload_check.says_the_same(version, record, reader), **suppressed, **_failed_cases(record)}


def _failed_cases(record: records.Record) -> dict[str, str]:
    """A person may take a version that fails a golden case, and the history says so."""
    bounds = record["gate"].get("bounds", [])
    names = [bound["name"] for bound in bounds if bound["kind"] == golden_guardrail.KIND and bound["broken"]]
    return {Fact.GOLDEN: f"it failed golden cases: {', '.join(map(repr, names))}"} if names else {}


def _suppressed_rows(version: versions.Version, even_forgotten: bool) -> dict[str, str]:
    suppressed = suppression.read()
    if not suppressed.rows:
        return {}
    try:
        entry = history.read(version.name).registered(version.version)
        if entry is None:
            raise ancestry.UnknownAncestor(f"{version} is in no history")
        count = ancestry.count_suppressed_rows(entry, suppressed)
        problem = f"{count} {'row' if count == 1 else 'rows'} it learned from must not be learned from any more"
    except (dvc_store.MissingBytes, ancestry.UnknownAncestor) as error:
        count, problem = None, f"it may have learned from a row that must not be learned from: {error}"
    if count == 0:
        return {}
    if not even_forgotten:
        raise Refused(
            f"{version} must not serve: {problem}. Go back to another version, or make one by `retune run`; "
            "--even-forgotten takes it all the same, and the history will say so"
        )
    return {Fact.FORGOTTEN: problem}
