"""When a version was challenger and champion, in words for the lineage page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from retune.lineage.history import BY_HAND, CHAMPION, REGISTERED, REJECTED, ROLLBACK, ROLLOUT, Entry


@dataclass(frozen=True)
class Tenure:
    """A period in a role."""

    role: str
    start: str
    end: str  # empty: no entry of this history ends it
    lasted: str
    ending: str


def happened(entry: Entry) -> str:
    """What happened to the version of an entry, in words."""
    if entry.event == ROLLOUT:
        return f"rollout: {entry.move}"
    if entry.event != CHAMPION:
        return "was registered" if entry.event == REGISTERED else f"was {entry.event}"
    how = {ROLLBACK: " again, by a rollback", BY_HAND: ", by hand"}
    return f"became champion{how.get(entry.how or '', '')}"


def tenures(entries: Sequence[Entry], mine: Sequence[Entry], checked: str | None) -> list[Tenure]:
    """The roles of the version whose entries are `mine`, each up to the entry that ended it, in order."""
    terms = []
    for entry in (entry for entry in mine if entry.event in (REGISTERED, CHAMPION)):
        later = [other for other in entries if other.number > entry.number and other.model == entry.model]
        if entry.event == CHAMPION:
            others = (other for other in later if other.event == CHAMPION and other.version != entry.version)
            ended = next(others, None)
            ending = f"until {ended.version_name} took its place" if ended else "no entry ends it"
        else:
            same_version = (
                other for other in later if other.event in (CHAMPION, REJECTED) and other.version == entry.version
            )
            ended = next(same_version, None)
            ending = f"until it {happened(ended)}" if ended else "no entry ends it"
        end = ended.at if ended else ""
        terms.append(Tenure(entry.event, entry.at, end, lasted(entry.at, end or checked or ""), ending))
    return terms


def lasted(start: str, end: str) -> str:
    """The time between two moments in words; empty if a moment is missing or unreadable."""
    try:
        seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    except (ValueError, TypeError):
        return ""
    if seconds < 0:
        return ""
    for name, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {name}"
    return f"{seconds:.0f} seconds"
