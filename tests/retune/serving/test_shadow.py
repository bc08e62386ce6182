"""The challenger answers for nobody."""

import asyncio

import pytest

from retune.serving.shadow import Shadow
from retune.serving.split import Split
from tests.support import virtual_time
from tests.support.answerers import FAULTS, RIGHT, arms, router


def shadowed(kind, requests, record, champion="fine"):
    stubs = arms(champion=champion, challenger=kind)
    each = router(stubs, Split("r", "salt", 0, True), record.append)

    async def work():
        clock = asyncio.get_running_loop().time
        start = clock()
        routed = [await each.answer(["a"], None, clock() + 1, f"r{number}") for number in range(requests)]
        took = clock() - start
        await asyncio.sleep(3600)
        await each.close()
        return routed, took

    return each, *virtual_time.run(work())


def test_its_answers_are_recorded_and_the_champions_are_given():
    record = []
    _, routed, _ = shadowed("fine", 2, record)
    assert [(each.arm, each.reason) for each in routed] == [("champion", "shadow")] * 2
    assert [(each.arm, each.request_id, each.served.version, each.answers) for each in record] == [
        ("shadow", "r0", "2", (RIGHT,)),
        ("shadow", "r1", "2", (RIGHT,)),
    ]


@pytest.mark.parametrize("kind", FAULTS)
def test_whatever_it_does_no_response_waits_for_it_and_its_failure_is_recorded(kind):
    record = []
    _, routed, took = shadowed(kind, 3, record)
    assert len(routed) == 3 and took == 0
    assert [(each.arm, bool(each.error)) for each in record] == [("shadow", True)] * 3


def test_what_finds_the_queue_full_is_dropped_and_counted():
    record = []
    each, _, _ = shadowed("hung", 10, record)
    assert (each.shadow.offered, each.shadow.dropped) == (10, 10 - len(record))
    assert 4 <= len(record) <= 5  # four wait, and one is being asked


def test_a_response_that_the_champion_did_not_give_has_no_shadow():
    record = []
    stubs = arms(champion="raising", challenger="fine", base="fine")
    each = router(stubs, Split("r", "salt", 0, True), record.append)
    virtual_time.run(_once(each))
    assert each.shadow.offered == 0


async def _once(each):
    return await each.answer(["a"], None, asyncio.get_running_loop().time() + 1, "r")


def test_what_waits_when_it_closes_counts_as_dropped():
    async def work():
        shadow = Shadow(5, 1.0, lambda attempt: None)
        for _ in range(3):
            shadow.offer(arms(challenger="hung")["challenger"], "r", "", ["a"])
        await shadow.close()
        return shadow.dropped

    assert virtual_time.run(work()) == 3
