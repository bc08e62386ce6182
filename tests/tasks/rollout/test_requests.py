"""What a person asks of a rollout, and what is refused."""

import pytest

from retune.errors import Refused, WrongUse
from retune.lineage import history
from retune.lineage.entry_facts import Fact
from retune.registry import versions
from retune.serving import rollouts
from tasks.rollout import requests
from tests.support import rollout_traffic as traffic
from tests.support import served

STEPS = ("shadow", 5, 100)


@pytest.fixture
def engine(tmp_path):
    return served.database_in(tmp_path)


@pytest.fixture
def candidate(sqlite_registry, register_tiny, request):
    """A version that passed the gate, beside a champion."""
    return traffic.champion_and_candidate(sqlite_registry, register_tiny, request.node.name)


def start(engine, version):
    return requests.start(engine, version, STEPS, "error", "better on refunds")


def moves(version):
    entries = history.read(version.name).entries
    return [(each.move, each.facts[Fact.STEP]) for each in entries if each.event == history.ROLLOUT]


def test_it_begins_beside_the_champion_and_each_request_is_an_entry(engine, candidate):
    rollout = start(engine, candidate)
    assert (rollout.version, rollout.rival) == (str(candidate), f"{candidate.name}/1")
    requests.pause(engine, candidate.name, "lunch")
    requests.resume(engine, candidate.name, "back")
    requests.abort(engine, candidate.name, "enough")
    assert moves(candidate) == [(move, "shadow") for move in ("start", "pause", "resume", "abort")]
    last = history.read(candidate.name).last
    assert (last.facts[Fact.ROLLOUT], last.facts[Fact.SALT], last.why) == (rollout.id, rollout.salt, ("enough",))
    assert not [link for link in history.check(history.read(candidate.name), last.head) if not link.ok]


def test_what_may_not_take_over_is_refused_with_words(engine, candidate, register_tiny):
    champion = versions.find(candidate.name, version=1)
    with pytest.raises(Refused, match="is the champion already"):
        start(engine, champion)
    with pytest.raises(Refused, match="did not pass the gate"):
        start(engine, register_tiny(candidate.name, decision="held"))
    with pytest.raises(Refused, match="has no champion to take over from"):
        start(engine, register_tiny(f"{candidate.name}-x"))
    assert rollouts.names(engine) == []


def test_a_second_one_and_requests_to_none_are_refused(engine, candidate):
    start(engine, candidate)
    with pytest.raises(Refused, match="is open already"):
        start(engine, candidate)
    with pytest.raises(Refused, match="is not paused"):
        requests.resume(engine, candidate.name, "hm")
    requests.abort(engine, candidate.name, "enough")
    with pytest.raises(Refused, match=r"no rollout of .* is open: the last one, of .*, was aborted"):
        requests.pause(engine, candidate.name, "lunch")


def test_steps_are_read_from_words():
    assert requests.steps("shadow, 1,5%,100") == ("shadow", 1, 5, 100)


@pytest.mark.parametrize("words", ["", "shadow", "5,5", "50,5", "5,shadow", "0,5", "5,101", "a few", "5,,6", "٣"])
def test_other_words_are_refused(words):
    with pytest.raises(WrongUse, match="--steps is"):
        requests.steps(words)
