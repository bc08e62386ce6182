"""The history entries of a rollout."""

import pytest

from retune.lineage import history
from retune.serving import rollouts
from tasks.rollout import journal
from tests.support import rollout_traffic as traffic
from tests.support import served


@pytest.fixture
def rollout(tmp_path, sqlite_registry, register_tiny, request):
    name = traffic.champion_and_candidate(sqlite_registry, register_tiny, request.node.name).name
    engine = served.database_in(tmp_path)
    return engine, rollouts.begin(engine, name, ("1", "2"), ("shadow", 5), "error", "why not", "Ann <ann@x.org>")


def moves(rollout):
    return [entry.move for entry in history.read(rollout.model).entries if entry.event == history.ROLLOUT]


def test_a_move_is_written_once_however_often_it_is_repeated(rollout):
    _, current = rollout
    first = journal.note(current, journal.START, ["why not"], {"error": {"worse": 0.5}})
    assert journal.note(current, journal.START, ["again"], {}) == first
    assert moves(current) == ["start"]
    assert '"worse": 0.5' in first.facts["Figures"]


def test_what_a_killed_process_did_not_write_is_written_by_the_next(rollout):
    engine, current = rollout
    journal.catch_up(current)
    current = rollouts.change(engine, current, "nothing speaks against it", place=1)
    journal.catch_up(current)
    current = rollouts.change(engine, current, "it is worse", state=rollouts.ROLLED_BACK)
    for _ in range(2):
        journal.catch_up(current)
    assert moves(current) == ["start", "advance", "roll back"]
    assert history.read(current.model).last.why == ("it is worse",)
