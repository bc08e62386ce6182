"""What came of an answer for the business: a number by name for a request, such as `resolved` 1 or `minutes` 12.5.

    outcomes.put(engine, [Outcome("4f1c...", "minutes", 12.5, time.time())])

The last number of a name counts, so whoever sends one twice changes nothing.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Column, Double, Engine, Index, String, Table, delete, insert
from sqlalchemy.exc import IntegrityError

from retune.serving.database import METADATA

OUTCOMES = Table(
    "outcomes",
    METADATA,
    Column("request_id", String(64), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("value", Double, nullable=False),
    Column("time", Double, nullable=False),
    Index("outcomes_by_time", "time"),
)


@dataclass(frozen=True)
class Outcome:
    request_id: str
    name: str
    value: float  # finite
    time: float  # seconds since 1970


def put(engine: Engine, values: Sequence[Outcome]) -> None:
    """Write them to the disk, each in the place of an earlier one of its request and name."""
    last = {(each.request_id, each.name): each for each in values}
    for attempt in range(3):
        try:
            with engine.begin() as connection:
                for each in last.values():
                    same = (OUTCOMES.c.request_id == each.request_id) & (OUTCOMES.c.name == each.name)
                    connection.execute(delete(OUTCOMES).where(same))
                    connection.execute(insert(OUTCOMES), asdict(each))
            return
        except IntegrityError:  # the same one came twice at once
            if attempt == 2:
                raise
