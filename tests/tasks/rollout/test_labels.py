"""Corrections of either version, and labels of what both answered."""

import pytest

from retune.promotion.anytime import Block
from tasks.rollout import evidence
from tests.support import rollout_traffic as traffic
from tests.support import served
from tests.support.rollout_traffic import BEGAN


@pytest.fixture
def engine(tmp_path):
    return served.database_in(tmp_path)


def test_corrections_are_counted_among_the_answers_so_far(engine):
    rollout = traffic.begin(engine, place=1)
    start = rollout.times[1]
    traffic.traffic(engine, start, 2, (10, 0), (30, 0))  # r0 to r9 and r40 to r49 are the challenger's
    traffic.correct(engine, 0, start + 50)
    traffic.correct(engine, 11, start + 55)
    traffic.correct(engine, 12, start + 55, label="shipping")  # which is what it answered
    traffic.correct(engine, 41, start + 90)
    traffic.correct(engine, 42, start + 95)
    assert evidence.read(engine, rollout, now=start + 3000).corrections == (Block(10, 1, 30, 1), Block(19, 2, 59, 0))


def test_a_verdict_of_a_reviewer_counts_before_feedback(engine):
    rollout = traffic.begin(engine, place=1)
    start = rollout.times[1]
    traffic.traffic(engine, start, 1, (10, 0), (30, 0))
    traffic.correct(engine, 0, start + 20)
    traffic.review(engine, 0, "right")
    traffic.review(engine, 11, "wrong", "returns")
    (block,) = evidence.read(engine, rollout, now=start + 3000).corrections
    assert (block.candidate_errors, block.champion_errors) == (0, 1)


def test_of_requests_that_both_answered_those_count_on_which_one_alone_is_wrong(engine):
    rollout = traffic.begin(engine)
    answers = [("shipping", "returns"), ("returns", "shipping"), ("returns", "shipping"), ("refunds", "refunds")]
    for number, (champion, shadow) in enumerate(answers):
        rows = [("champion", champion), ("shadow", shadow)]
        traffic.log(engine, [traffic.answer(arm, number, BEGAN + number, label=label) for arm, label in rows])
    traffic.correct(engine, 0, BEGAN + 9, label="shipping")  # confirms the champion
    traffic.correct(engine, 1, BEGAN + 9, label="shipping")
    traffic.correct(engine, 2, BEGAN + 9, label="shipping")
    traffic.review(engine, 2, "right", answer="returns")  # and a reviewer knows better
    traffic.correct(engine, 3, BEGAN + 9, label="shipping")  # both are wrong
    assert evidence.read(engine, rollout, now=BEGAN + 99).pairs == (2, 1)
