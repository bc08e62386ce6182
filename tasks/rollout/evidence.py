"""What the log of requests, outcomes and feedback say of the two versions of a rollout, step by step.

A request counts once, by its first text, for the arm that was asked first: an answer that the champion gave because the
challenger failed is the challenger's error, and nothing of the champion's.
"""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import ColumnElement, Engine, and_, func, or_, select

from retune.config.rollout import SHADOW
from retune.promotion.anytime import Block
from retune.promotion.anytime_means import Values
from retune.serving.outcomes import OUTCOMES
from retune.serving.request_log import ANSWERS
from retune.serving.rollouts import Rollout
from retune.serving.router import CHALLENGER, CHAMPION
from tasks.rollout import labels

MINUTE = 60.0
FEWEST = 10  # requests of each arm in a block
LAG = 5.0  # seconds after which what came in a minute is in the log
RATING = "rating"  # the outcome that the metric of this name looks at

Pair = tuple[Values, Values]  # of candidate and champion


@dataclass(frozen=True)
class Evidence:
    """Of candidate and champion. Strata are steps."""

    errors: tuple[Block, ...]
    corrections: tuple[Block, ...]
    pairs: tuple[int, int]  # labelled requests that both answered, on which the candidate, or the champion, alone erred
    latencies: tuple[Pair, ...]  # logarithms of milliseconds
    ratings: tuple[Pair, ...]
    in_step: int  # answers of the candidate in the present step
    last: float | None  # when the last request of either came, in seconds since 1970


def read(engine: Engine, rollout: Rollout, now: float | None = None) -> Evidence:
    """now: seconds since 1970."""
    moment = time.time() if now is None else now
    errors: list[Block] = []
    corrections: list[Block] = []
    latencies, ratings, pairs = [], [], (0, 0)
    for place in range(len(rollout.times)):
        errors += blocks(_minutes(engine, rollout, place, moment))
        rows = of_step(rollout, place)
        if rollout.steps[place] == SHADOW:
            pairs = labels.pairs(engine, rollout.model, (rollout.challenger, rollout.champion), rollout.times[0])
        else:
            corrections += labels.corrections(engine, rows, moment)
            latencies.append(_latencies(engine, rollout, place))
            ratings.append(outcome_values(engine, rollout, place, RATING))
    return Evidence(
        errors=tuple(errors),
        corrections=tuple(corrections),
        pairs=pairs,
        latencies=tuple(latencies),
        ratings=tuple(ratings),
        in_step=_in_step(engine, rollout),
        last=_last(engine, rollout),
    )


def blocks(minutes: Iterable[Block]) -> list[Block]:
    """Minutes together until each arm has some requests: one with requests of a single arm compares nothing.

    The last ones, which are too few, wait for the next look: a block is looked at once, and whole.
    """
    whole, sums = [], (0, 0, 0, 0)
    for minute in minutes:
        counts = (minute.candidate, minute.candidate_errors, minute.champion, minute.champion_errors)
        sums = tuple(map(sum, zip(sums, counts, strict=True)))  # type: ignore[assignment]
        if min(sums[0], sums[2]) >= FEWEST:
            whole.append(Block(*sums))
            sums = (0, 0, 0, 0)
    return whole


def _minutes(engine: Engine, rollout: Rollout, place: int, now: float) -> list[Block]:
    """The requests of each whole minute of a step, in order."""
    start, end = rollout.times[place], _end(rollout, place)
    bucket = func.round((ANSWERS.c.time - start) / MINUTE - 0.5)  # floor, which SQLite may lack
    until = min(end, start + math.floor(max(0.0, now - LAG - start) / MINUTE) * MINUTE)
    question = (
        select(
            bucket.label("minute"),
            ANSWERS.c.arm,
            func.count().label("requests"),
            func.count().filter(ANSWERS.c.error != "").label("errors"),
        )
        .where(of_step(rollout, place), ANSWERS.c.position == 0, ANSWERS.c.time < until)
        .group_by(bucket, ANSWERS.c.arm)
        .order_by(bucket)
    )
    sides: dict[float, dict[str, tuple[int, int]]] = {}
    with engine.connect() as connection:
        for row in connection.execute(question):
            sides.setdefault(float(row.minute), {})[row.arm] = (row.requests, row.errors)
    candidate = candidate_arm(rollout, place)
    return [Block(*arms.get(candidate, (0, 0)), *arms.get(CHAMPION, (0, 0))) for arms in sides.values()]


def candidate_arm(rollout: Rollout, place: int) -> str:
    return SHADOW if rollout.steps[place] == SHADOW else CHALLENGER


def _end(rollout: Rollout, place: int) -> float:
    """When a step ended; of the last one, when the rollout did."""
    if place + 1 < len(rollout.times):
        return rollout.times[place + 1]
    return math.inf if rollout.is_open else rollout.changed


def of_step(rollout: Rollout, place: int) -> ColumnElement[bool]:
    """The rows of both arms in a step, without those that another arm answered in their place."""
    return and_(
        _of_versions(rollout, candidate_arm(rollout, place)), _between(rollout.times[place], _end(rollout, place))
    )


def _between(start: float, end: float) -> ColumnElement[bool]:
    return ANSWERS.c.time >= start if math.isinf(end) else and_(ANSWERS.c.time >= start, ANSWERS.c.time < end)


def _of_versions(rollout: Rollout, candidate: str) -> ColumnElement[bool]:
    instead = or_(ANSWERS.c.reason.like("fallback%"), ANSWERS.c.reason.like("breaker open%"))
    sides = or_(
        and_(ANSWERS.c.arm == candidate, ANSWERS.c.version == rollout.challenger),
        and_(ANSWERS.c.arm == CHAMPION, ANSWERS.c.version == rollout.champion),
    )
    return and_(ANSWERS.c.model == rollout.model, sides, ~instead)


def _in_step(engine: Engine, rollout: Rollout) -> int:
    place = len(rollout.times) - 1
    mine = and_(of_step(rollout, place), ANSWERS.c.arm == candidate_arm(rollout, place), ANSWERS.c.position == 0)
    with engine.connect() as connection:
        return int(connection.execute(select(func.count()).where(mine)).scalar_one())


def _last(engine: Engine, rollout: Rollout) -> float | None:
    question = select(func.max(ANSWERS.c.time)).where(
        ANSWERS.c.model == rollout.model, _between(rollout.times[0], math.inf)
    )
    with engine.connect() as connection:
        moment = connection.execute(question).scalar_one()
    return None if moment is None else float(moment)


def _latencies(engine: Engine, rollout: Rollout, place: int) -> Pair:
    question = select(ANSWERS.c.arm, ANSWERS.c.latency_ms).where(
        of_step(rollout, place), ANSWERS.c.position == 0, ANSWERS.c.error == "", ANSWERS.c.latency_ms > 0
    )
    with engine.connect() as connection:
        rows = [(arm, math.log(milliseconds)) for arm, milliseconds in connection.execute(question)]
    return by_arm(rows)


def outcome_values(engine: Engine, rollout: Rollout, place: int, name: str) -> Pair:
    """The numbers that came for the requests of a step, by the arm that answered."""
    question = (
        select(ANSWERS.c.arm, OUTCOMES.c.value)
        .join(OUTCOMES, OUTCOMES.c.request_id == ANSWERS.c.request_id)
        .where(of_step(rollout, place), ANSWERS.c.position == 0, ANSWERS.c.arm != SHADOW, OUTCOMES.c.name == name)
    )
    with engine.connect() as connection:
        return by_arm([(arm, value) for arm, value in connection.execute(question)])


def by_arm(rows: Sequence[tuple[str, float]]) -> Pair:
    candidate = [value for arm, value in rows if arm != CHAMPION]
    return values_of(candidate), values_of([value for arm, value in rows if arm == CHAMPION])


def values_of(numbers: Sequence[float]) -> Values:
    if not numbers:
        return Values(0, 0.0, 0.0)
    variance = float(np.var(numbers, ddof=1)) if len(numbers) > 1 else 0.0
    return Values(len(numbers), float(np.mean(numbers)), variance)
