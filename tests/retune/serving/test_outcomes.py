"""Numbers of the business for requests."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from retune.serving import outcomes
from retune.serving.outcomes import OUTCOMES, Outcome
from tests.support import served


@pytest.fixture
def engine(tmp_path):
    return served.database_in(tmp_path)


def values(engine):
    with engine.connect() as connection:
        return {(row.request_id, row.name): row.value for row in connection.execute(select(OUTCOMES))}


def test_the_last_number_of_a_name_counts(engine):
    outcomes.put(engine, [Outcome("r1", "minutes", 3.0, 1.0), Outcome("r1", "resolved", 1.0, 1.0)])
    outcomes.put(engine, [Outcome("r1", "minutes", 12.5, 2.0), Outcome("r2", "minutes", 1.0, 2.0)])
    assert values(engine) == {("r1", "minutes"): 12.5, ("r1", "resolved"): 1.0, ("r2", "minutes"): 1.0}


def test_one_that_is_sent_many_times_at_once_counts_once(engine):
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: outcomes.put(engine, [Outcome("r1", "minutes", 3.0, 1.0)]), range(8)))
    assert values(engine) == {("r1", "minutes"): 3.0}
