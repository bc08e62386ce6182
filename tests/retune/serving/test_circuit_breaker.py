"""When an arm that fails is left alone, and when it is tried again."""

import pytest

from retune.config.rollout import Breaker
from retune.serving.circuit_breaker import CLOSED, HALF_OPEN, OPEN, CircuitBreaker

SETTINGS = Breaker(failures=3, rate=0.5, window=10, open_seconds=10.0)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return CircuitBreaker(SETTINGS, clock)


def fail(breaker, times):
    for _ in range(times):
        assert breaker.allows()
        breaker.fail()


def test_failures_in_a_row_open_it_and_no_request_goes_through(breaker):
    fail(breaker, 2)
    assert breaker.state == CLOSED
    fail(breaker, 1)
    assert (breaker.state, breaker.allows(), breaker.openings) == (OPEN, False, 1)


def test_a_success_in_between_begins_the_row_anew(breaker):
    fail(breaker, 2)
    breaker.succeed()
    fail(breaker, 2)
    assert breaker.state == CLOSED


def test_a_share_of_failures_opens_it_too(breaker):
    for _ in range(4):
        breaker.succeed()
        fail(breaker, 1)
    assert breaker.state == CLOSED
    breaker.succeed()
    fail(breaker, 1)
    assert breaker.state == OPEN


def test_later_one_request_tries_it_and_its_success_closes_it(breaker, clock):
    fail(breaker, 3)
    clock.now += 10
    assert breaker.state == HALF_OPEN
    assert [breaker.allows(), breaker.allows()] == [True, False]
    breaker.succeed()
    assert [breaker.state, breaker.allows(), breaker.allows()] == [CLOSED, True, True]


def test_its_failure_opens_it_again_for_as_long(breaker, clock):
    fail(breaker, 3)
    clock.now += 10
    fail(breaker, 1)
    clock.now += 9
    assert (breaker.state, breaker.openings) == (OPEN, 2)
    clock.now += 1
    assert breaker.state == HALF_OPEN


def test_a_trial_whose_caller_went_away_leaves_room_for_another(breaker, clock):
    fail(breaker, 3)
    clock.now += 10
    assert breaker.allows()
    breaker.release()
    assert breaker.allows()


def test_an_answer_from_before_it_opened_does_not_close_it(breaker):
    assert breaker.allows()  # a slow request
    fail(breaker, 3)
    breaker.succeed()
    assert breaker.state == OPEN
