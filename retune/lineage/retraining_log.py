"""What came of a retraining, in a word, and what the history keeps of it for whoever asks later.

A retraining in which a source failed is trouble, whatever else came of it: what the others brought may have made a
champion, and still nobody may read that all is well while a source has been dead for weeks.
"""

import json
from datetime import datetime
from typing import Literal, cast

from retune.config.types import Event
from retune.lineage import history

End = Event | Literal["nothing to do", "train"]
NOTHING: End = "nothing to do"
TRAIN: End = "train"  # the decision, after which the outcome is kept as well
PROMOTED: Event = "promoted"
HELD: Event = "held"
AWAITING: Event = "awaiting"
REFUSED: Event = "refused"
FAILED: Event = "failed"

# Facts of an entry.
DECISION, VERSION_FACT, RUN, INPUTS, FAILED_SOURCES = "Decision", "About", "Run", "Inputs", "Failed-sources"


def last(chain: history.Chain, run: str | None = None) -> history.Entry | None:
    """The last entry that tells what came of a retraining, or of this Prefect run."""
    outcomes = (entry for entry in reversed(chain.entries) if entry.facts.get(DECISION) not in (None, TRAIN))
    return next((entry for entry in outcomes if run in (None, entry.facts.get(RUN))), None)


def interrupted_version(chain: history.Chain) -> str | None:
    """The newest version, if the retraining that made it was killed, or broke, before it could tell what came of it.

    A failure is no answer: what broke is taken up again. Not if a person has decided since who serves.
    """
    places = [place for place, entry in enumerate(chain.entries) if entry.event == history.REGISTERED]
    if not places:
        return None
    earlier, newest = [0, *places][-2:]
    registration, before, since = chain.entries[newest], chain.entries[:newest], chain.entries[newest:]
    name = f"{registration.model}/{registration.version}"
    ended = {entry.facts[RUN] for entry in before if _answer(entry) or entry.facts.get(DECISION) == FAILED}
    ended |= {entry.facts[RUN] for entry in since if _answer(entry)}
    starting_runs = {entry.facts[RUN] for entry in before[earlier:] if entry.facts.get(DECISION) == TRAIN}
    answered = any(_by_a_person(entry) or (_answer(entry) and entry.facts[VERSION_FACT] == name) for entry in since)
    return None if answered or starting_runs <= ended else name


def unanswered_request(chain: history.Chain) -> str | None:
    """For what reason somebody asked for the newest retraining, if it was killed before it had made a version."""
    since: list[history.Entry] = []
    for entry in reversed(chain.entries):
        if entry.event == history.REGISTERED:
            return None
        if entry.facts.get(DECISION) == TRAIN:
            reason = _because(entry)
            ended = any(each.facts[RUN] == entry.facts[RUN] or _because(each) == reason for each in since)
            return None if ended else reason
        if DECISION in entry.facts:
            since.append(entry)
    return None


def _because(entry: history.Entry) -> str | None:
    return cast(str | None, json.loads(entry.facts.get(INPUTS, "{}")).get("because"))


def _answer(entry: history.Entry) -> bool:
    return entry.facts.get(DECISION) not in (None, TRAIN, FAILED)


def _by_a_person(entry: history.Entry) -> bool:
    answered = entry.event in (history.APPROVED, history.REJECTED)
    return answered or entry.facts.get(history.HOW) in (history.BY_HAND, history.ROLLBACK)


def failures(entry: history.Entry | None) -> dict[str, str]:
    """source -> why nothing could be taken from it, in the retraining of this entry."""
    return cast(dict[str, str], json.loads(entry.facts.get(FAILED_SOURCES, "{}"))) if entry else {}


def effective_outcome(entry: history.Entry | None) -> str | None:
    """The outcome as it counts for what follows: with a source that failed it is `failed`."""
    if entry is None:
        return None
    return FAILED if failures(entry) else entry.facts.get(DECISION)


def last_success(chain: history.Chain) -> datetime | None:
    """When a retraining last came to an end as it should, also one that was started by hand."""
    ends = (_end(entry, chain) for entry in chain.entries)
    return max((datetime.fromisoformat(end.at) for end in ends if end), default=None)


def _end(entry: history.Entry, chain: history.Chain) -> history.Entry | None:
    """With which entry the retraining that this one tells of came to a good end, if it did.

    A candidate that waits for a person comes to its end with the answer, be it yes or no: no flow run of a retraining
    by hand goes on then and says so in an entry of its own.
    """
    if effective_outcome(entry) == AWAITING:
        answers = (each for each in chain.entries if each.event in (history.APPROVED, history.REJECTED))
        return next((each for each in answers if f"{each.model}/{each.version}" == entry.facts.get(VERSION_FACT)), None)
    return entry if effective_outcome(entry) in (PROMOTED, HELD, NOTHING) else None
