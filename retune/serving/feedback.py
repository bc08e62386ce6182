"""What people say of answers, until reviewers have looked at it: `feedback` and `reviews` in the database of serving.

    POST /v1/feedback ──> feedback, waits ──> a sheet ──> reviews ──> accepted rows are ingested, as any records are

Nothing becomes a training row or a golden case without a verdict of a reviewer. `add` returns when the row is on disk.
A sheet is a sample of the requests since the last sheet, each with its own chance to be drawn, so that the verdicts
give the accuracy of all requests (`retune.evaluation.review_sample`).
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    String,
    Table,
    Text,
    and_,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from retune.errors import Refused
from retune.serving.database import METADATA

HOUR = 3600.0
RIGHT, WRONG, UNUSABLE = "right", "wrong", "unusable"

ROW = "request:"

Key = tuple[str, int]  # of an answer: request id and position

FEEDBACK = Table(
    "feedback",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("request_id", String(64), nullable=False),
    Column("position", Integer, nullable=False),
    Column("person", String(64), nullable=False),
    Column("time", Float, nullable=False),
    Column("label", Text),
    Column("rating", Float),
    Column("note", Text),
    Index("feedback_of_an_answer", "request_id", "position"),
    Index("feedback_of_a_person", "person", "time"),
)
REVIEWS = Table(
    "reviews",
    METADATA,
    Column("request_id", String(64), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("model", String(100), nullable=False),
    Column("sheet", String(32), nullable=False, index=True),
    Column("drawn", Float, nullable=False),
    Column("asked", Float, nullable=False),
    Column("chance", Float),
    Column("answer", Text, nullable=False),
    Column("text_sha256", String(64), nullable=False),
    Column("verdict", String(16)),
    Column("label", Text),
    Column("reviewers", Text),
    Column("ingested", Boolean, nullable=False, default=False),
)


@dataclass(frozen=True)
class Feedback:
    """What one person says of one answer. label: what should have come, or the better text; rating: 0 bad to 1 good."""

    request_id: str
    position: int  # of the text in its request
    person: str  # pseudonym
    time: float  # seconds since 1970
    label: str | None = None
    rating: float | None = None
    note: str | None = None

    @property
    def id(self) -> str:
        """32 hexadecimal digits of what was said: the same said twice is one."""
        content = [getattr(self, field.name) for field in fields(self) if field.name != "time"]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]

    def disputes(self, answer: str) -> bool:
        """Whether it says that the answer is wrong."""
        return self.label != answer if self.label is not None else self.rating is not None and self.rating < 0.5


@dataclass(frozen=True)
class Review:
    """A drawn answer, and what reviewers say of it once they have."""

    request_id: str
    position: int
    model: str
    sheet: str
    drawn: float  # seconds since 1970: the requests up to then had a chance
    asked: float  # when the request came
    chance: float | None  # with which it was drawn; None: for its feedback, so it tells nothing of other requests
    answer: str  # of the model
    text_sha256: str  # of the text that the reviewer sees
    verdict: str | None = None  # right | wrong | unusable
    label: str | None = None  # that reviewers gave
    reviewers: str | None = None
    ingested: bool = False

    @property
    def key(self) -> Key:
        return self.request_id, self.position


def row_id(key: Key) -> str:
    """The id of the row that an accepted answer becomes in data/raw."""
    return f"{ROW}{key[0]}:{key[1]}"


def request_of(row: str) -> str | None:
    """The request that such a row comes from; None for any other row."""
    return row.removeprefix(ROW).rpartition(":")[0] or None if row.startswith(ROW) else None


def add(engine: Engine, feedback: Feedback, per_hour: int) -> bool:
    """Whether it is new; in any case it is on disk. Raises Refused after `per_hour` pieces of one person in an hour."""
    with engine.begin() as connection:
        if connection.execute(select(FEEDBACK.c.id).where(FEEDBACK.c.id == feedback.id)).first():
            return False
        recent = and_(FEEDBACK.c.person == feedback.person, FEEDBACK.c.time > feedback.time - HOUR)
        count = connection.execute(select(func.count()).select_from(FEEDBACK).where(recent)).scalar_one()
        if count >= per_hour:
            raise Refused(f"{count} pieces of feedback in an hour from one person", remedy="send more in an hour")
        insert = (postgresql if engine.dialect.name == "postgresql" else sqlite).insert(FEEDBACK)
        values = {**asdict(feedback), "id": feedback.id}
        return bool(connection.execute(insert.values(values).on_conflict_do_nothing()).rowcount)


def of_answers(engine: Engine, request_id: str | None = None) -> dict[Key, list[Feedback]]:
    """All feedback by its answer, the oldest first; on one request if it is named."""
    names = [FEEDBACK.c[field.name] for field in fields(Feedback)]
    result: dict[Key, list[Feedback]] = {}
    with engine.connect() as connection:
        query = select(*names) if request_id is None else select(*names).where(FEEDBACK.c.request_id == request_id)
        for row in connection.execute(query.order_by(FEEDBACK.c.time)):
            result.setdefault((row.request_id, row.position), []).append(Feedback(**row._mapping))
    return result


def reviews(engine: Engine, model: str | None = None, request_id: str | None = None) -> list[Review]:
    """Of a model or of all, of a request or of all, in the order in which the requests came."""
    query = select(*(REVIEWS.c[field.name] for field in fields(Review)))
    if model is not None:
        query = query.where(REVIEWS.c.model == model)
    if request_id is not None:
        query = query.where(REVIEWS.c.request_id == request_id)
    with engine.connect() as connection:
        rows = connection.execute(query.order_by(REVIEWS.c.asked, REVIEWS.c.request_id, REVIEWS.c.position))
        return [Review(**row._mapping) for row in rows]


def last_drawn(engine: Engine, model: str) -> float:
    """Up to when requests had their chance to be drawn, in seconds since 1970; 0 before the first sheet."""
    is_drawn = and_(REVIEWS.c.model == model, REVIEWS.c.chance.is_not(None))
    with engine.connect() as connection:
        newest = connection.execute(select(func.max(REVIEWS.c.drawn)).where(is_drawn))
        return newest.scalar_one() or 0.0


def draw(engine: Engine, drawn: Sequence[Review]) -> None:
    """Write down a sheet. Raises Refused if another sheet has drawn one of its answers meanwhile."""
    from sqlalchemy.exc import IntegrityError

    try:
        with engine.begin() as connection:
            connection.execute(REVIEWS.insert(), [asdict(each) for each in drawn])
    except IntegrityError:
        raise Refused("another sheet was drawn at the same time: draw again") from None


def count_as_sure(engine: Engine, keys: Iterable[Key]) -> None:
    """Answers that somebody chose: their chance to be looked at was one."""
    with engine.begin() as connection:
        for key in keys:
            _update(connection, key, chance=1.0)


def judge(engine: Engine, judged: Iterable[Review]) -> None:
    """Write down what reviewers say."""
    with engine.begin() as connection:
        for each in judged:
            _update(connection, each.key, verdict=each.verdict, label=each.label, reviewers=each.reviewers)


def mark_ingested(engine: Engine, keys: Iterable[Key]) -> None:
    with engine.begin() as connection:
        for key in keys:
            _update(connection, key, ingested=True)


def forget(connection: Connection, keys: Iterable[Key]) -> None:
    """Delete what people said of these answers, and the words that reviewers gave."""
    for request_id, position in keys:
        connection.execute(delete(FEEDBACK).where(FEEDBACK.c.request_id == request_id, FEEDBACK.c.position == position))
        _update(connection, (request_id, position), label=None)


def _update(connection: Connection, key: Key, **values: Any) -> None:
    is_it = and_(REVIEWS.c.request_id == key[0], REVIEWS.c.position == key[1])
    connection.execute(update(REVIEWS).where(is_it).values(**values))
