"""Which arm answers, and who answers when it does not."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.serving.answers import Overloaded, TooLate, Unanswered, Unavailable
from retune.serving.router import ORDER
from retune.serving.split import Split
from tests.support import virtual_time
from tests.support.answerers import FAULTS, RIGHT, Stub, arms, router

ALL = Split("r", "salt", 100, False)


def ask(each, subject=None, seconds=1.0, request_id="r1", texts=("a", "b")):
    async def work():
        start = asyncio.get_running_loop().time()
        try:
            return await each.answer(list(texts), subject, start + seconds, request_id)
        finally:
            assert asyncio.get_running_loop().time() - start <= seconds + 1e-6

    return virtual_time.run(work())


def test_without_a_rollout_the_champion_answers():
    routed = ask(router(arms(champion="fine", challenger="fine")))
    assert (routed.arm, routed.reason, routed.answers) == ("champion", "no rollout", [RIGHT, RIGHT])


def test_the_reason_says_how_the_arm_came_about():
    stubs = arms(champion="fine", challenger="fine")
    assert ask(router(stubs, ALL), "ann").reason == "sticky 100%"
    assert ask(router(stubs, ALL)).reason == "by request 100%"
    assert ask(router(stubs, Split("r", "s", 0, False)), "ann").reason == "sticky, not in the 0%"
    assert ask(router(arms(champion="fine"), ALL), "ann").reason == "the challenger is not loaded"


@given(st.text(min_size=1), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_a_subject_has_the_same_arm_in_every_request_and_on_every_server(subject, percent):
    stubs, split = arms(champion="fine", challenger="fine"), Split("r", "salt", percent, False)
    one, other = router(stubs, split), router(stubs, split)
    assert len({ask(each, subject, request_id=name).arm for each in (one, other) for name in "xyz"}) == 1


@given(st.fixed_dictionaries({arm: st.sampled_from(("fine", *FAULTS, "absent")) for arm in ORDER}), st.booleans())
@settings(max_examples=150, deadline=None)
def test_every_request_has_an_answer_or_an_unanswered_by_its_deadline_whatever_the_arms_do(kinds, shadow):
    stubs = arms(**{arm: kind for arm, kind in kinds.items() if kind != "absent"})
    each = router(stubs, Split("r", "salt", 100, shadow))
    for number in range(3):
        try:
            routed = ask(each, f"subject {number}")
        except Unanswered:
            assert not {kinds["champion"], kinds["base"]} & {"fine"}
        else:
            assert kinds[routed.arm] == "fine"


@pytest.mark.parametrize("kind", FAULTS)
def test_the_champion_answers_for_a_challenger_that_does_not_and_the_failure_is_recorded(kind):
    record = []
    routed = ask(router(arms(challenger=kind, champion="fine"), ALL, record.append), "ann")
    (attempt,) = record
    assert routed.arm == "champion"
    assert routed.reason == f"fallback: challenger {attempt.error}"
    assert (attempt.arm, attempt.served.version, attempt.answers) == ("challenger", "2", ())


def test_base_comes_last_and_a_hung_arm_leaves_time_for_it():
    stubs = arms(challenger="hung", champion="hung", base="fine")
    stubs["base"].seconds = 0.1  # of one second
    assert ask(router(stubs, ALL), "ann").arm == "base"


def test_where_nobody_answers_the_error_says_when_to_ask_again():
    with pytest.raises(Overloaded) as error:
        ask(router(arms(challenger="raising", champion="overloaded", base="nan"), ALL), "ann")
    assert error.value.retry_after == 3.0
    with pytest.raises(Unavailable, match="no version is loaded"):
        ask(router({}))
    with pytest.raises(TooLate):
        ask(router(arms(champion="fine")), seconds=0.0)


def test_an_arm_that_fails_again_and_again_is_asked_no_more():
    stubs = arms(challenger="raising", champion="fine")
    each = router(stubs, ALL)
    reasons = [ask(each, "ann").reason for _ in range(5)]
    assert reasons == ["fallback: challenger failed"] * 3 + ["breaker open: challenger"] * 2
    assert stubs["challenger"].calls == 3
    assert each.breakers == {"challenger": "open", "champion": "closed"}


@pytest.mark.parametrize("kind", ["overloaded", "unfit"])
def test_a_crowd_or_a_request_that_fits_no_version_opens_no_breaker(kind):
    stubs = arms(challenger=kind, champion="fine")
    each = router(stubs, ALL)
    for _ in range(5):
        ask(each, "ann")
    assert stubs["challenger"].calls == 5


def test_another_version_begins_with_a_closed_breaker():
    each = router(arms(challenger="raising", champion="fine"), ALL)
    for _ in range(3):
        ask(each, "ann")
    other = {"champion": Stub("1"), "challenger": Stub("9")}
    each.change(other, ALL)
    assert ask(each, "ann").served.version == "9"


def test_a_caller_that_goes_away_says_nothing_about_the_arm():
    stubs = arms(champion="hung")
    each = router(stubs)

    async def work():
        for _ in range(4):
            task = asyncio.ensure_future(each.answer(["a"], None, asyncio.get_running_loop().time() + 9, "r"))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    virtual_time.run(work())
    assert each.breakers == {"champion": "closed"}
