"""Reads what `request_log` wrote: by request, by window, by arm; and forgets texts in it."""

from collections.abc import Iterable
from typing import Any

import pandas as pd
from sqlalchemy import ColumnElement, Engine, and_, func, select, text, update

from retune.serving import feedback, kept_text, request_log
from retune.serving.request_log import ANSWERS

AT_ONCE = 500  # keys of one statement
LEFT_OUT = {"text": None, "text_key": None, "sketch": None, "subject": None}  # of a row whose text is forgotten
SHADOW = "shadow"  # an arm whose answers nobody got


def of_request(engine: Engine, request_id: str) -> list[dict[str, Any]]:
    """The rows of a request in the order in which they were written; empty if the log has none of this id."""
    question = select(ANSWERS).where(ANSWERS.c.request_id == request_id).order_by(ANSWERS.c.id)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(question).mappings()]


def window(
    engine: Engine,
    model: str,
    start: float,
    end: float,
    columns: Iterable[str],
    most: int | None = None,
    version: str | None = None,
) -> pd.DataFrame:
    """The rows of a model, or of one version, from `start` up to `end`, by their time; of more than `most`, evenly
    spaced ones.

    Moments are seconds since 1970. Shadow answers are among them: `arm` says so.
    """
    chosen, within = [ANSWERS.c[name] for name in columns], _within(model, start, end)
    if version:
        within &= ANSWERS.c.version == version
    question = select(*chosen).where(within).order_by(ANSWERS.c.time, ANSWERS.c.id)
    with engine.connect() as connection:
        if most:
            count = connection.execute(select(func.count()).where(within)).scalar_one()
            question = question.where(ANSWERS.c.id % max(-(-count // most), 1) == 0)
        rows = connection.execute(question).all()
    return pd.DataFrame(rows, columns=[column.name for column in chosen])


def counts_by_arm(engine: Engine, model: str, start: float, end: float) -> list[dict[str, Any]]:
    """version, arm, and how many texts: `answers` in all, `errors`, and `automatic`, those that nobody read."""
    question = (
        select(
            ANSWERS.c.version,
            ANSWERS.c.arm,
            func.count().label("answers"),
            func.count().filter(ANSWERS.c.error != "").label("errors"),
            func.count().filter(ANSWERS.c.route == "auto").label("automatic"),
        )
        .where(_within(model, start, end))
        .group_by(ANSWERS.c.version, ANSWERS.c.arm)
        .order_by(ANSWERS.c.version, ANSWERS.c.arm)
    )
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(question).mappings()]


def first_and_last(engine: Engine, model: str) -> tuple[float, float] | None:
    """When the first and the last text came that the log still has; None without any."""
    question = select(func.min(ANSWERS.c.time), func.max(ANSWERS.c.time)).where(ANSWERS.c.model == model)
    with engine.connect() as connection:
        first, last = connection.execute(question).one()
    return None if first is None else (first, last)


def first_of_version(engine: Engine, model: str, version: str) -> float | None:
    """When a version first answered anybody; None if it never did."""
    answered = (ANSWERS.c.model == model, ANSWERS.c.version == version, ANSWERS.c.arm != SHADOW, ANSWERS.c.error == "")
    with engine.connect() as connection:
        first: float | None = connection.execute(select(func.min(ANSWERS.c.time)).where(*answered)).scalar_one()
    return first


def last_version(engine: Engine, model: str) -> str | None:
    """The version that answered last; None if none did."""
    answered = (ANSWERS.c.model == model, ANSWERS.c.arm.in_(("champion", "base")), ANSWERS.c.error == "")
    question = select(ANSWERS.c.version).where(*answered).order_by(ANSWERS.c.time.desc(), ANSWERS.c.id.desc()).limit(1)
    with engine.connect() as connection:
        version: str | None = connection.execute(question).scalar_one_or_none()
    return version


def answered_by(engine: Engine, version: str, request_ids: Iterable[str]) -> set[str]:
    """Those of the requests that a version answered."""
    ids = sorted(request_ids)
    answered: set[str] = set()
    for start in range(0, len(ids), AT_ONCE):
        among = ANSWERS.c.request_id.in_(ids[start : start + AT_ONCE])
        is_it = and_(among, ANSWERS.c.version == version, ANSWERS.c.arm != SHADOW)
        with engine.connect() as connection:
            answered.update(connection.execute(select(ANSWERS.c.request_id).where(is_it)).scalars())
    return answered


def forget(engine: Engine, texts: Iterable[str]) -> int:
    """Take out of the log whatever says what these texts said, or who sent them. Returns how many rows held one.

    A row stays with its version, time and label, if that is no text of a model, so that it can still be shown what was
    decided; what people said of the answer goes. Rows of `serve.log.text: none` hold nothing to find them by.
    """
    keys = sorted(set(kept_text.keys(texts, request_log.secret_of(engine))))
    count = 0
    for start in range(0, len(keys), AT_ONCE):
        holders = ANSWERS.c.text_key.in_(keys[start : start + AT_ONCE])
        with engine.begin() as connection:
            answers = select(ANSWERS.c.request_id, ANSWERS.c.position).where(holders)
            feedback.forget(connection, [(row.request_id, row.position) for row in connection.execute(answers)])
            connection.execute(update(ANSWERS).where(holders, ANSWERS.c.writes).values(label=""))
            count += connection.execute(update(ANSWERS).where(holders).values(**LEFT_OUT)).rowcount
    if count and engine.dialect.name == "sqlite":
        with engine.connect() as connection:  # or the words would stay in the log of writes
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    return count


def _within(model: str, start: float, end: float) -> ColumnElement[bool]:
    return and_(ANSWERS.c.model == model, ANSWERS.c.time >= start, ANSWERS.c.time < end)
