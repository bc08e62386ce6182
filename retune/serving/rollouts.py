"""The rollouts of each model: which version takes over from which, how far it is, and how requests are divided.

    running ─┬─ the last step holds ──> completed: it became champion
       │     └─ it is worse ──────────> rolled back
    paused   (stays where it is, and is still rolled back if it is worse)
       └─ a person ends it ───────────> aborted

The table is the truth for every server of a database: each reads it every few seconds. One rollout of a model is open
at a time, which the database itself keeps. Whoever changes a rollout names the revision that the change is based on.
"""

import json
import secrets
import time
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sqlalchemy import Column, Double, Engine, Index, Integer, String, Table, Text, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from retune.config.rollout import SHADOW
from retune.errors import Refused
from retune.serving.database import METADATA
from retune.serving.split import Split

RUNNING, PAUSED = "running", "paused"
COMPLETED, ROLLED_BACK, ABORTED = "completed", "rolled back", "aborted"
OPEN = (RUNNING, PAUSED)
IS_OPEN = text(f"state IN ('{RUNNING}', '{PAUSED}')")

ROLLOUTS = Table(
    "rollouts",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("model", String(100), nullable=False),
    Column("champion", String(20), nullable=False),  # versions, as numbers
    Column("challenger", String(20), nullable=False),
    Column("salt", String(32), nullable=False),
    Column("steps", Text, nullable=False),  # JSON: shadow and percentages
    Column("metric", String(20), nullable=False),
    Column("state", String(20), nullable=False),
    Column("place", Integer, nullable=False),  # of the step, from 0
    Column("times", Text, nullable=False),  # JSON: when each step began, in seconds since 1970
    Column("changed", Double, nullable=False),
    Column("reason", Text, nullable=False),  # for the last change
    Column("person", Text, nullable=False),  # who began it
    Column("revision", Integer, nullable=False),
    Index("one_open_rollout", "model", unique=True, sqlite_where=IS_OPEN, postgresql_where=IS_OPEN),
)


@dataclass(frozen=True)
class Rollout:
    id: str
    model: str
    champion: str  # the version that it is compared with
    challenger: str
    salt: str
    steps: tuple[str | int, ...]
    metric: str
    state: str
    place: int
    times: tuple[float, ...]  # when each step up to the present one began
    changed: float
    reason: str
    person: str
    revision: int

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @property
    def step(self) -> str | int:
        return self.steps[self.place]

    @property
    def following(self) -> str | int | None:
        """The next step; None at the last one."""
        return self.steps[self.place + 1] if self.place + 1 < len(self.steps) else None

    @property
    def split(self) -> Split | None:
        """How servers divide requests; None once it has ended."""
        if not self.is_open:
            return None
        shadow = self.step == SHADOW
        return Split(self.id, self.salt, 0.0 if shadow else float(self.step), shadow)

    @property
    def version(self) -> str:
        """NAME/VERSION of the challenger."""
        return f"{self.model}/{self.challenger}"

    @property
    def rival(self) -> str:
        """NAME/VERSION of the champion."""
        return f"{self.model}/{self.champion}"


def in_words(step: str | int) -> str:
    return str(step) if step == SHADOW else f"{step}%"


def begin(
    engine: Engine,
    model: str,
    versions: tuple[str, str],
    steps: tuple[str | int, ...],
    metric: str,
    reason: str,
    person: str,
) -> Rollout:
    """versions: champion and challenger. Raises Refused if a rollout of this model is open."""
    now = time.time()
    rollout = Rollout(
        uuid4().hex,
        model,
        *versions,
        salt=secrets.token_hex(16),
        steps=steps,
        metric=metric,
        state=RUNNING,
        place=0,
        times=(now,),
        changed=now,
        reason=reason,
        person=person,
        revision=1,
    )
    try:
        with engine.begin() as connection:
            connection.execute(insert(ROLLOUTS), _row(rollout))
    except IntegrityError:
        other = current(engine, model)
        about = f"{other.version} at {in_words(other.step)}" if other else "another"
        raise Refused(
            f"a rollout of {model} is open already: {about}. `retune rollout status {model}` shows it, and "
            f"`retune rollout abort {model} --reason TEXT` ends it"
        ) from None
    return rollout


def current(engine: Engine, model: str) -> Rollout | None:
    """The open rollout of a model."""
    latest_one = latest(engine, model)
    return latest_one if latest_one and latest_one.is_open else None


def latest(engine: Engine, model: str) -> Rollout | None:
    """The open rollout of a model, or the one that ended last."""
    question = select(ROLLOUTS).where(ROLLOUTS.c.model == model)
    order = (ROLLOUTS.c.state.in_(OPEN).desc(), ROLLOUTS.c.changed.desc())
    with engine.connect() as connection:
        row = connection.execute(question.order_by(*order).limit(1)).mappings().first()
    return _parse(dict(row)) if row else None


def names(engine: Engine) -> list[str]:
    """The models that have had a rollout."""
    with engine.connect() as connection:
        return list(connection.execute(select(ROLLOUTS.c.model).distinct().order_by(ROLLOUTS.c.model)).scalars())


def change(
    engine: Engine, rollout: Rollout, reason: str, state: str | None = None, place: int | None = None
) -> Rollout:
    """The rollout in another state, or at another step. Raises Refused if somebody has changed it since it was read."""
    now = time.time()
    values: dict[str, Any] = {"changed": now, "reason": reason, "revision": rollout.revision + 1}
    if state is not None:
        values["state"] = state
    if place is not None:
        values |= {"place": place, "times": json.dumps([*rollout.times, now])}
    mine = (ROLLOUTS.c.id == rollout.id) & (ROLLOUTS.c.revision == rollout.revision)
    with engine.begin() as connection:
        if not connection.execute(update(ROLLOUTS).where(mine).values(values)).rowcount:
            raise Refused(f"the rollout of {rollout.version} was changed meanwhile: look at it again")
        row = connection.execute(select(ROLLOUTS).where(ROLLOUTS.c.id == rollout.id)).mappings().one()
    return _parse(dict(row))


def _row(rollout: Rollout) -> dict[str, Any]:
    values = dict(vars(rollout))
    return {**values, "steps": json.dumps(rollout.steps), "times": json.dumps(rollout.times)}


def _parse(row: dict[str, Any]) -> Rollout:
    return Rollout(**{**row, "steps": tuple(json.loads(row["steps"])), "times": tuple(json.loads(row["times"]))})
