"""Whether a rollout goes on, waits or is rolled back."""

from dataclasses import replace

import pytest

from retune.promotion.anytime import Block
from retune.promotion.anytime_means import Values
from retune.serving.rollouts import PAUSED, RUNNING, Rollout
from tasks.rollout.decision import ADVANCE, COMPLETE, ROLL_BACK, WAIT, decide
from tasks.rollout.evidence import Evidence
from tests.support.answerers import SETTINGS

NOW = 10_000.0
FINE = Evidence((Block(100, 1, 100, 1),) * 3, (), (0, 0), (), (), in_step=300, last=NOW - 1)
BAD = replace(FINE, errors=(Block(50, 10, 50, 1),) * 3)
PROVED = replace(FINE, errors=(Block(500, 10, 500, 10),) * 20)


def rollout(place=1, steps=("shadow", 5, 50, 100), metric="error", state=RUNNING, minutes=11):
    times = (0.0,) * place + (NOW - 60 * minutes,)
    return Rollout("r", "desk", "3", "4", "salt", steps, metric, state, place, times, 0.0, "lunch", "Ann", 1)


def move(evidence, **changes):
    decision = decide(rollout(**changes), evidence, SETTINGS, NOW)
    return decision.move, decision.reason


def test_where_nothing_speaks_against_it_it_takes_the_next_step():
    what, reason = move(FINE)
    assert what == ADVANCE and reason.startswith(
        "to 50%: nothing says that desk/4 is worse than desk/3, error: 3 of 300"
    )


@pytest.mark.parametrize("place", [0, 1, 3])
def test_one_that_is_worse_is_rolled_back_at_any_step_at_once_even_while_paused(place):
    for state in (RUNNING, PAUSED):
        what, reason = move(replace(BAD, in_step=3), place=place, state=state, minutes=0)
        assert what == ROLL_BACK and "desk/4 is worse than desk/3, error: 30 of 150 failed" in reason


def test_one_that_is_surely_worse_and_surely_within_the_margin_goes_on():
    slower = (Values(400_000, 3.02, 0.25), Values(400_000, 3.0, 0.25))  # by 2%; a ratio of 1.2 is allowed
    evidence = replace(FINE, latencies=(slower,))
    decision = decide(rollout(metric="latency"), evidence, SETTINGS, NOW)
    assert decision.tests[1].worse > decision.needed and decision.move == ADVANCE
    much = replace(evidence, latencies=((Values(4_000, 3.3, 0.25), Values(4_000, 3.0, 0.25)),))
    assert move(much, metric="latency")[0] == ROLL_BACK


@pytest.mark.parametrize(
    ("evidence", "changes", "words"),
    [
        (replace(FINE, in_step=120), {}, "120 of 200 answers of desk/4 at this step"),
        (FINE, {"minutes": 4}, "4 of 10 minutes at this step"),
        (FINE, {"state": PAUSED}, "paused: lunch"),
        (replace(FINE, last=None), {}, "no traffic since the rollout began, 167 minutes ago"),
        (replace(FINE, last=NOW - 3000), {}, "no traffic since 50 minutes ago"),
        (replace(FINE, in_step=0), {}, "desk/4 has given no answer at this step: does each server have it loaded?"),
        (FINE, {"place": 2}, "no proof yet that desk/4 is not worse by the margin"),
    ],
)
def test_it_waits_and_says_for_what(evidence, changes, words):
    what, reason = move(evidence, **changes)
    assert what == WAIT and words in reason


def test_nobody_is_left_for_the_last_step_without_proof():
    assert move(PROVED, place=2)[0] == ADVANCE
    assert move(PROVED, place=3)[0] == COMPLETE
    assert move(FINE, place=3)[0] == COMPLETE  # the proof was before
    assert move(FINE, place=1, steps=("shadow", 50))[0] == WAIT
    assert move(PROVED, place=1, steps=("shadow", 50))[0] == COMPLETE


def test_where_nothing_ever_goes_wrong_that_is_proof_enough():
    clean = replace(FINE, errors=(Block(500, 0, 500, 0),) * 4)
    assert move(clean, place=2)[0] == ADVANCE
    assert move(replace(FINE, errors=(Block(100, 0, 100, 0),)), place=2)[0] == WAIT


def test_another_metric_stands_beside_errors_and_each_has_half_of_the_false_alarms():
    decision = decide(rollout(metric="rating"), BAD, SETTINGS, NOW)
    assert [test.name for test in decision.tests] == ["error", "rating"]
    assert decision.needed == pytest.approx(40) and decision.move == ROLL_BACK
    ratings = ((Values(400, 3.0, 1.0), Values(400, 4.0, 1.0)),)
    assert move(replace(FINE, ratings=ratings), metric="rating")[0] == ROLL_BACK
    same = ((Values(4_000, 4.0, 1.0), Values(4_000, 4.0, 1.0)),)
    assert move(replace(FINE, ratings=same), metric="rating", place=2)[0] == ADVANCE


def test_labels_of_what_both_answered_come_first():
    corrected = replace(FINE, pairs=(20, 2), corrections=(Block(500, 1, 500, 1),))
    what, reason = move(corrected, metric="corrected", place=0)
    assert what == ROLL_BACK and "corrected: 20 of 22 were wrong alone" in reason
    assert move(replace(corrected, pairs=(0, 0)), metric="corrected", place=0)[0] == ADVANCE


def test_its_facts_are_json_without_infinities():
    facts = decide(rollout(), replace(FINE, errors=()), SETTINGS, NOW).as_facts()
    assert facts["error"]["interval"] == [1.0, 0.0, None]
