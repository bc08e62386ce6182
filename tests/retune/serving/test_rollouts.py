"""The table of rollouts, as several servers and people see it."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from retune.errors import Refused
from retune.serving import rollouts
from tests.support import served

STEPS = ("shadow", 5, 100)


@pytest.fixture
def engine(tmp_path):
    return served.database_in(tmp_path)


def begin(engine, model="classifier", challenger="4"):
    return rollouts.begin(engine, model, ("3", challenger), STEPS, "error", "better on refunds", "Ann <ann@x.org>")


def test_every_server_of_a_database_divides_requests_alike(engine, tmp_path):
    rollout = begin(engine)
    other_server = served.database_in(tmp_path)
    assert rollouts.current(other_server, "classifier") == rollout
    assert rollouts.current(other_server, "classifier").split == rollout.split
    assert (rollout.split.shadow, rollout.split.percent) == (True, 0.0)


def test_a_step_has_its_share_and_its_time(engine):
    rollout = rollouts.change(engine, begin(engine), "200 answers are fine", place=1)
    assert (rollout.split.percent, rollout.split.shadow, rollout.following) == (5.0, False, 100)
    assert len(rollout.times) == 2 and rollout.times[0] <= rollout.times[1] == rollout.changed
    assert rollouts.change(engine, rollout, "so are 400", place=2).following is None


def test_a_second_rollout_of_a_model_is_refused_while_one_is_open(engine):
    rollout = begin(engine)
    with pytest.raises(Refused, match=r"classifier/4 at shadow.*retune rollout abort classifier"):
        begin(engine, challenger="5")
    begin(engine, model="replies")
    rollouts.change(engine, rollout, "enough", state=rollouts.ABORTED)
    assert begin(engine, challenger="5").challenger == "5"
    assert rollouts.names(engine) == ["classifier", "replies"]


def test_of_two_that_begin_at_once_one_is_refused(engine):
    def attempt(challenger):
        try:
            return begin(engine, challenger=challenger)
        except Refused:
            return None

    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(attempt, "4567"))
    assert sum(result is not None for result in results) == 1


def test_of_two_changes_at_once_the_second_is_refused(engine):
    rollout = begin(engine)
    rollouts.change(engine, rollout, "hm", state=rollouts.PAUSED)
    with pytest.raises(Refused, match="changed meanwhile"):
        rollouts.change(engine, rollout, "go on", place=1)
    assert rollouts.current(engine, "classifier").place == 0


def test_one_that_has_ended_divides_nothing_and_stays_the_latest(engine):
    rollout = rollouts.change(engine, begin(engine), "it is worse", state=rollouts.ROLLED_BACK)
    assert (rollout.split, rollout.is_open) == (None, False)
    assert rollouts.current(engine, "classifier") is None
    assert rollouts.latest(engine, "classifier") == rollout
    assert rollouts.latest(engine, "replies") is None


def test_two_rollouts_have_two_salts(engine):
    one = rollouts.change(engine, begin(engine), "enough", state=rollouts.ABORTED)
    assert begin(engine).salt != one.salt
