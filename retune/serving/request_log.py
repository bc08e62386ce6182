"""What was asked and answered: one row a text, in the database of what was served.

    log = request_log.RequestLog(engine, params.serve.log, params.curate.pii)
    log.put([LoggedAnswer(...), ...])     # never waits and never raises
    log.close()                           # writes what waits

A thread writes in batches, off the way of the answers. While the database is away or its disk is full it tries again;
rows that find the queue full meanwhile are dropped, counted in `dropped`, and told in the log. A process that is killed
loses what it had not committed: the rows of the last second, and the batch that was being written.
"""

import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Engine,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
)
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError

from retune.config.personal_data import Pii
from retune.config.request_log import ServeLog
from retune.serving import kept_text, sketches
from retune.serving.database import METADATA

LOG = logging.getLogger("retune.serving")
BATCH = 500  # rows of a transaction
FLUSH = 1.0  # seconds that a row waits for others at most
PAUSE, LONGEST_PAUSE = 0.5, 5.0  # seconds between two attempts
CLOSING = 10.0  # seconds for what waits to be written at the end
DAY, SWEEP = 86400, 600  # seconds; between two looks for rows that are too old
SWEPT = 1000  # rows that one transaction deletes
WORDS = ("request_id", "model", "version", "seal", "arm", "reason", "route", "error")

ANSWERS = Table(
    "answers",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("request_id", String(64), nullable=False, index=True),
    Column("position", Integer, nullable=False),  # of the text in its request, from 0
    Column("time", Double, nullable=False),  # seconds since 1970
    Column("model", String(100), nullable=False),
    Column("version", String(20), nullable=False),
    Column("seal", String(64), nullable=False),
    Column("arm", String(20), nullable=False),
    Column("reason", Text, nullable=False),  # for the arm
    Column("subject", String(kept_text.SUBJECT_DIGITS)),  # its hash
    Column("text", Text),
    Column("text_key", String(64), index=True),
    Column("length", Integer, nullable=False),  # characters of the text as it came
    Column("sketch", LargeBinary),  # of its vector
    Column("label", Text, nullable=False),
    Column("writes", Boolean, nullable=False),
    Column("confidence", Double),
    Column("route", String(10), nullable=False),
    Column("latency_ms", Double),
    Column("error", Text, nullable=False),  # empty: it was answered
    Index("answers_of_a_model", "model", "time"),
    Index("answers_by_time", "time"),
)
SECRET = Table(
    "answers_secret", METADATA, Column("id", Integer, primary_key=True), Column("secret", String(64), nullable=False)
)


@dataclass(frozen=True)
class LoggedAnswer:
    """A text that was asked, and what came of it."""

    request_id: str
    position: int  # of the text in its request, from 0
    time: float  # seconds since 1970
    model: str
    version: str
    seal: str
    arm: str  # champion | challenger | base | shadow
    reason: str  # for the arm
    subject: str  # for whom; empty: nobody said. A hash of it is kept
    text: str  # as it came; the log keeps of it what `serve.log.text` says
    vector: np.ndarray | None = field(repr=False, compare=False)  # [width]; a sketch of it is kept
    label: str  # empty where there is no answer
    writes: bool  # the label is a text, of which is kept what is kept of texts
    confidence: float | None
    route: str  # auto | human; empty where there is no answer
    latency_ms: float  # from the request to its answer
    error: str  # the kind of Unanswered; empty: it was answered


class RequestLog:
    """The writer of `answers`. Its counters may be read at any time: written, dropped, waiting."""

    def __init__(self, engine: Engine, settings: ServeLog, pii: Pii) -> None:
        """Raises WrongUse if `curate.pii` asks for a secret or a model that is not there."""
        self._engine, self._settings = engine, settings
        self._policy = kept_text.text_policy(settings.text, pii)
        self._rows: queue.Queue[LoggedAnswer] = queue.Queue(settings.queue)
        self._closing = threading.Event()
        self._last_sweep = 0.0
        self._secret = b""
        self._is_away = False  # the last attempt failed
        self._counting = threading.Lock()
        self.written = self.dropped = 0
        self._thread = threading.Thread(target=self._write_all, name="request-log", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return self._rows.qsize()

    def put(self, rows: Sequence[LoggedAnswer]) -> None:
        """Hand rows to the writer. Rows that find no room are dropped and counted."""
        for place, row in enumerate(rows):
            try:
                self._rows.put_nowait(row)
            except queue.Full:
                self._drop(len(rows) - place)
                return

    def close(self) -> None:
        """Write what waits, and end. Waits ten seconds at most: what is not written then is dropped and counted."""
        self._closing.set()
        self._thread.join(CLOSING)

    def _drop(self, count: int) -> None:
        with self._counting:
            first = not self.dropped
            self.dropped += count
        if first:
            LOG.warning("rows are dropped: the log's queue is full (serve.log.queue is %d)", self._settings.queue)

    def _write_all(self) -> None:
        while True:
            batch = self._next_batch()
            if batch:
                self._write(batch)
            self._sweep()
            if self._closing.is_set() and not self._rows.qsize():
                return

    def _next_batch(self) -> list[LoggedAnswer]:
        """The rows of the next second, or fewer seconds where a batch is full or the log closes."""
        rows: list[LoggedAnswer] = []
        end = time.monotonic() + FLUSH
        while len(rows) < BATCH and (rest := end - time.monotonic()) > 0:
            try:
                rows.append(self._rows.get(timeout=min(rest, 0.1)))
            except queue.Empty:
                if self._closing.is_set():
                    break
        return rows

    def _write(self, batch: list[LoggedAnswer]) -> None:
        """Commit the rows; again and again where the database is away, until the log closes."""
        pause = PAUSE
        while True:
            last = self._closing.is_set()
            if self._attempt(lambda: self._insert(batch)):
                return
            if last:
                self._lose(len(batch), "the database is away, and the log closes")
                return
            self._closing.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _attempt(self, write: Callable[[], None]) -> bool:
        """Whether the database could be reached."""
        try:
            write()
        except (OperationalError, InterfaceError) as error:
            if not self._is_away:
                LOG.warning("what is served cannot be logged, answers go on: %s", _first_line(error))
            self._is_away = True
            return False
        if self._is_away:
            LOG.warning("what is served is logged again; rows dropped so far: %d", self.dropped)
        self._is_away = False
        return True

    def _insert(self, batch: list[LoggedAnswer]) -> None:
        """All rows, or all but those that the database refuses by themselves."""
        try:
            rows = self._stored(batch)
            with self._engine.begin() as connection:
                connection.execute(insert(ANSWERS), rows)
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:  # whatever is wrong with one row, the others are logged, and the thread lives
            if len(batch) == 1:
                self._lose(1, _first_line(error))
            else:
                for row in batch:
                    self._insert([row])
        else:
            with self._counting:
                self.written += len(batch)

    def _lose(self, count: int, why: str) -> None:
        with self._counting:
            self.dropped += count
        LOG.warning("rows of what was served that are dropped: %d: %s", count, why)

    def _stored(self, batch: list[LoggedAnswer]) -> list[dict[str, Any]]:
        self._secret = self._secret or secret_of(self._engine)
        keys = self._policy.keys([row.text for row in batch], self._secret)
        return [{**self._values(row), "text_key": key} for row, key in zip(batch, keys, strict=True)]

    def _values(self, row: LoggedAnswer) -> dict[str, Any]:
        return {
            **{name: kept_text.storable(getattr(row, name)) for name in WORDS},
            "position": row.position,
            "time": row.time,
            "subject": kept_text.subject_hash(row.subject, self._secret),
            "text": self._policy.text(row.text),
            "label": kept_text.storable(row.label) if not row.writes else self._policy.text(row.label) or "",
            "writes": row.writes,
            "length": len(row.text),
            "sketch": sketches.as_bytes(row.vector),
            "confidence": row.confidence,
            "latency_ms": row.latency_ms,
        }

    def _sweep(self) -> None:
        """Delete rows that are older than `serve.log.days`, some at a time."""
        if time.monotonic() - self._last_sweep < SWEEP and self._last_sweep:
            return
        count = 0

        def sweep() -> None:
            nonlocal count
            count = delete_before(self._engine, time.time() - self._settings.days * DAY)

        if self._attempt(sweep) and count < SWEPT:
            self._last_sweep = time.monotonic()


def delete_before(engine: Engine, moment: float) -> int:
    """Delete the oldest rows before a moment, a thousand at most. Returns how many."""
    oldest = select(ANSWERS.c.id).where(ANSWERS.c.time < moment).order_by(ANSWERS.c.time).limit(SWEPT)
    with engine.begin() as connection:
        return connection.execute(delete(ANSWERS).where(ANSWERS.c.id.in_(oldest.scalar_subquery()))).rowcount


def secret_of(engine: Engine) -> bytes:
    """What keys the hashes of this database; the first caller makes it."""
    question = select(SECRET.c.secret)
    with engine.begin() as connection:
        existing = connection.execute(question).scalar_one_or_none()
    if existing is None:
        try:
            with engine.begin() as connection:
                connection.execute(insert(SECRET), {"id": 1, "secret": secrets.token_hex(32)})
        except IntegrityError:  # another process was first
            pass
        with engine.begin() as connection:
            existing = connection.execute(question).scalar_one()
    return bytes.fromhex(existing)


def _first_line(error: Exception) -> str:
    return (str(getattr(error, "orig", None) or error).splitlines() or [type(error).__name__])[0]
