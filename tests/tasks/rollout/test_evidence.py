"""What the log says of the two versions of a rollout."""

import pytest

from retune.promotion.anytime import Block
from tasks.rollout import evidence
from tests.support import rollout_traffic as traffic
from tests.support import served
from tests.support.rollout_traffic import BEGAN


@pytest.fixture
def engine(tmp_path):
    return served.database_in(tmp_path)


def test_minutes_come_together_until_both_arms_have_some_requests():
    minutes = [Block(4, 1, 40, 2), Block(5, 0, 50, 1), Block(1, 1, 10, 0), Block(20, 2, 0, 0), Block(0, 0, 9, 1)]
    assert evidence.blocks(minutes) == [Block(10, 2, 100, 3)]
    assert evidence.blocks([*minutes, Block(0, 0, 1, 0)])[1] == Block(20, 2, 10, 1)


def test_each_minute_counts_once_it_is_over_and_by_the_arm_that_was_asked(engine):
    rollout = traffic.begin(engine, place=1)
    start = rollout.times[1]
    traffic.traffic(engine, start, 3, (12, 1), (15, 2))
    facts = evidence.read(engine, rollout, now=start + 127)
    assert facts.errors == (Block(12, 1, 15, 2),) * 2
    assert (facts.in_step, facts.last > start) == (36, True)
    assert evidence.read(engine, rollout, now=start + 1000).errors == (Block(12, 1, 15, 2),) * 3


def test_steps_are_apart_and_the_shadow_stands_for_the_challenger_in_its_step(engine):
    rollout = traffic.begin(engine, place=1)
    number = traffic.traffic(engine, BEGAN, 1, (10, 0), (10, 1), arm="shadow")
    traffic.traffic(engine, rollout.times[1], 1, (10, 3), (90, 2), first=number)
    facts = evidence.read(engine, rollout, now=BEGAN + 99_999)
    assert facts.errors == (Block(10, 0, 10, 1), Block(10, 3, 90, 2))


def test_what_the_champion_answers_for_a_failed_challenger_counts_for_neither(engine):
    rollout = traffic.begin(engine, place=1)
    start = rollout.times[1]
    traffic.traffic(engine, start, 1, (10, 10), (10, 0))
    rows = [("fallback: challenger failed", 500), ("breaker open: challenger", 501)]
    traffic.log(engine, [traffic.answer("champion", number, start + 1, reason=why) for why, number in rows])
    assert evidence.read(engine, rollout, now=start + 99).errors == (Block(10, 10, 10, 0),)


def test_other_versions_other_models_and_further_texts_of_a_request_do_not_count(engine):
    rollout = traffic.begin(engine, place=1)
    start = rollout.times[1]
    traffic.traffic(engine, start, 1, (10, 0), (10, 0))
    strangers = [{"version": "9"}, {"model": "replies"}, {"position": 1}]
    rows = [traffic.answer("champion", 900, start + 1, "failed", **changes) for changes in strangers]
    traffic.log(engine, [*rows, traffic.answer("champion", 901, BEGAN - 60, "failed")])
    assert evidence.read(engine, rollout, now=start + 99).errors == (Block(10, 0, 10, 0),)


def test_ratings_and_latencies_are_by_arm_and_step(engine):
    rollout = traffic.begin(engine, place=1)
    traffic.traffic(engine, rollout.times[1], 1, (2, 0), (3, 1))
    traffic.rate(engine, [1.0, 2.0, 5.0, 5.0, 2.0])
    facts = evidence.read(engine, rollout, now=BEGAN + 99_999)
    ((candidate, champion),) = facts.ratings
    assert (candidate.count, candidate.mean, candidate.variance) == (2, 1.5, 0.5)
    assert (champion.count, champion.mean) == (3, 4.0)
    assert [side.count for side in facts.latencies[0]] == [2, 2]  # of what was answered


def test_nothing_was_asked(engine):
    facts = evidence.read(engine, traffic.begin(engine))
    assert (facts.errors, facts.pairs, facts.in_step, facts.last) == ((), (0, 0), 0, None)
