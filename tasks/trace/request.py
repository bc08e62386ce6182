"""What happened to a request: which version answered, what it was made from, and who had put it there by then.

    retune lineage request 5f0c...

When, by which arm and version stands in the log of what was served; all else in the history, which needs no registry.
"""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from retune.data import row_table
from retune.errors import Refused
from retune.lineage import history
from retune.lineage.entry_facts import md5_fact
from retune.serving import database, feedback, served_rows

NO_OPINIONS: dict[str, Any] = {"feedback": [], "review": None}
OF_AN_ANSWER = ("position", "label", "confidence", "route", "error", "latency_ms", "length", "text")


@dataclass(frozen=True)
class Event:
    """What a history entry says of one step of a version's way."""

    at: str
    by: str
    why: tuple[str, ...]
    how: str | None
    entry: str  # its tag

    @classmethod
    def of(cls, entry: history.Entry | None) -> "Event | None":
        return cls(entry.at, entry.by, entry.why, entry.how, entry.tag) if entry else None


@dataclass(frozen=True)
class Origin:
    """Where a version comes from, as far as it was decided when the request came."""

    data: dict[str, str]  # raw, train, val and test -> hash in the DVC store
    commit: str  # the workspace that made it: code, parameters, locks
    evidence: str | None  # sha256 of its record, lineage.json
    signer: str | None
    seal_holds: bool  # the seal that answered is that of the history
    registered: Event
    approved: Event | None
    champion: Event | None  # what made it champion; None: it was not champion then
    until: str | None  # when another took its place; None: it is champion still, or was not


@dataclass(frozen=True)
class Served:
    """The texts of a request that one version answered in one role."""

    version: str  # NAME/VERSION
    seal: str
    arm: str
    reason: str
    at: str  # ISO 8601, UTC
    answers: list[dict[str, Any]]  # by the names of OF_AN_ANSWER; what people said of it; the verdict of reviewers
    origin: Origin | None  # None: the history does not know the version


def trace(request_id: str) -> list[Served]:
    """Raises Refused if the log does not know the request, Broken if it is away."""
    engine = database.find()
    rows = served_rows.of_request(engine, request_id) if engine else []
    if not rows:
        why = "`serve.log.days` says for how long a request is kept" if engine else "nothing was served here"
        raise Refused(f"the log has no request {request_id!r}: {why}, and RETUNE_SERVING_DATABASE where it is")
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:  # a client may use an id twice
        groups.setdefault((row["model"], row["version"], row["arm"], row["time"]), []).append(row)
    opinions = _opinions(engine, request_id) if engine else {}
    return [_served(group, opinions) for group in groups.values()]


def _opinions(engine: database.Engine, request_id: str) -> dict[int, dict[str, Any]]:
    """By position: feedback, with the person as a hash; and the verdict of reviewers with the row that it became."""
    pieces = feedback.of_answers(engine, request_id)
    reviews = {review.position: review for review in feedback.reviews(engine, request_id=request_id)}
    return {
        position: {
            "feedback": [asdict(piece) for piece in pieces.get((request_id, position), ())],
            "review": _review(reviews[position]) if position in reviews else None,
        }
        for position in {position for _, position in pieces} | set(reviews)
    }


def _review(review: feedback.Review) -> dict[str, Any]:
    row = feedback.row_id(review.key) if review.ingested else None
    return {"verdict": review.verdict, "label": review.label, "reviewers": review.reviewers, "row": row}


def _served(rows: list[dict[str, Any]], opinions: dict[int, dict[str, Any]]) -> Served:
    first = rows[0]
    moment = datetime.fromtimestamp(first["time"], UTC)
    return Served(
        f"{first['model']}/{first['version']}",
        first["seal"],
        first["arm"],
        first["reason"],
        moment.isoformat(timespec="milliseconds"),
        [{**{name: row[name] for name in OF_AN_ANSWER}, **opinions.get(row["position"], NO_OPINIONS)} for row in rows],
        _origin(first, moment),
    )


def _origin(row: dict[str, Any], moment: datetime) -> Origin | None:
    chain = history.read(row["model"])
    version = int(row["version"]) if row["version"].isdecimal() else history.NO_VERSION
    entry = chain.registered(version)
    if entry is None:
        return None
    champion = chain.champion(moment)
    tenure = champion if champion and champion.version == version else None
    terms = [term for term in chain.served(version) if tenure and term["from"] == tenure.at]
    earlier = [other for other in chain.entries if datetime.fromisoformat(other.at) <= moment]
    answer = history.Chain(chain.model, tuple(earlier)).answer(version)
    parts = ("raw", *row_table.SPLITS)
    return Origin(
        {part: entry.facts[md5_fact(part)] for part in parts if md5_fact(part) in entry.facts},
        entry.commit,
        entry.evidence,
        entry.signer,
        entry.seal == row["seal"],
        Event(entry.at, entry.by, entry.why, entry.how, entry.tag),
        Event.of(answer if answer and answer.event == history.APPROVED else None),
        Event.of(tenure),
        terms[0]["to"] if terms else None,
    )
