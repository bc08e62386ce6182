"""A person makes a version champion, whatever the gate decided, or rolls back to an earlier champion.

What must hold before a person's decision moves an alias is passed in as `check`: see `fit_to_serve`.
"""

from retune.data import suppression
from retune.errors import Refused
from retune.lineage import ancestry, history, record
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
    """Make a version champion because a person says so, whatever the gate said."""
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
    there = {version.version: version for version in versions.versions(chain.model)}
    crowned, crowns = chain.champion(), chain.succession()
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
    registration(version)
    facts = check(version)  # takes seconds, so others may write meanwhile
    with history.writing():
        _refuse_if_moved(version, before)
        by = f"{how}, {git.identity()}: {reason}"
        return set_champion(version, how, [reason], [*recorded_reasons(version), by], facts)


def _refuse_if_moved(version: versions.Version, before: str | None) -> None:
    now = current_champion(version.name, history.read(version.name))
    if now != before:
        raise Refused(f"the champion is {now} now, no longer {before}: look again whether {version} is still wanted")


def fit_to_serve(version: versions.Version, reader: clean_process.Reader, even_forgotten: bool) -> dict[str, str]:
    """What a version must pass before a person may make it champion, and what the history says of that.

    Its files are those that were registered; it did not learn from a row that must not be learned from; loaded in the
    clean process `reader` it predicts as recorded.
    """
    made = record.read(versions.checked_folder(version) / record.FILE)
    forgotten = _suppressed_rows(version, even_forgotten)
    return {"Checked": reload_check.says_the_same(version, made, reader), **forgotten}


def _suppressed_rows(version: versions.Version, even_forgotten: bool) -> dict[str, str]:
    listed = suppression.read()
    if not listed.rows:
        return {}
    try:
        entry = history.read(version.name).registered(version.version)
        if entry is None:
            raise ancestry.UnknownAncestor(f"{version} is in no history")
        count = ancestry.count_suppressed_rows(entry, listed)
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
