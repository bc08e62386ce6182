import asyncio
from dataclasses import replace

import pytest

from retune.config import params
from retune.config.rollout import Rollout as Settings
from retune.serving import rollouts
from retune.serving.live_version import LiveVersion
from retune.serving.rollout_arms import ArmSources, RolloutArms
from retune.serving.router import Router
from tests.support import served
from tests.support.serving import SHIPPED, FakeEngine, fake_version


class Desk:
    """A served model with its router, and the rollouts of a database."""

    def __init__(self, engine, base=None):
        self.version, self.engine, self.loads, self.raises = 1, engine, [], None
        self.live = LiveVersion("desk@champion", lambda _: fake_version(number=self.version), FakeEngine, 0.05)
        settings = params.parse_section(Settings, SHIPPED["rollout"])
        self.router = Router({"champion": self.live.engine}, settings, 1.0, lambda _: None)
        sources = ArmSources(lambda name: rollouts.latest(engine, name), self.load, base)
        self.arms = RolloutArms(self.live, self.router, sources, 0.01)

    def load(self, reference):
        self.loads.append(reference)
        if self.raises:
            raise self.raises
        return FakeEngine(fake_version(*reference.split("/")))

    def begin(self, *steps):
        return rollouts.begin(self.engine, "desk", ("1", "2"), steps, "error", "because", "Ann")

    async def who_answers(self, count=200):
        loop = asyncio.get_running_loop()
        answers = [await self.router.answer(["a"], f"c{n}", loop.time() + 5) for n in range(count)]
        return {answer.served.version: answer.arm for answer in answers}


@pytest.fixture
def engine(tmp_path):
    return served.database_in(tmp_path)


def test_without_a_rollout_the_version_answers_alone(engine):
    async def story():
        desk = Desk(engine)
        await desk.arms.look()
        assert await desk.who_answers() == {"1": "champion"}
        assert desk.arms.state() is None and desk.loads == []

    asyncio.run(story())


def test_a_challenger_is_loaded_once_and_answers_its_share_until_the_rollout_ends(engine):
    async def story():
        desk = Desk(engine)
        rollout = desk.begin("shadow", 50, 100)
        await desk.arms.look()
        assert await desk.who_answers() == {"1": "champion"}, "in the shadow nobody gets its answers"
        for place, expected in ((1, {"1": "champion", "2": "challenger"}), (2, {"2": "challenger"})):
            rollout = rollouts.change(engine, rollout, "on", place=place)
            await desk.arms.look()
            assert await desk.who_answers() == expected
        assert desk.loads == ["desk/2"]
        assert desk.arms.state() == {"challenger": "desk/2", "step": "100%", "failure": ""}
        challenger = desk.arms._challenger
        rollouts.change(engine, rollout, "worse", state=rollouts.ROLLED_BACK)
        await desk.arms.look()
        assert await desk.who_answers() == {"1": "champion"}
        await asyncio.sleep(0.05)
        assert challenger.closed

    asyncio.run(story())


def test_once_the_challenger_is_champion_it_answers_as_that(engine):
    async def story():
        desk = Desk(engine)
        desk.begin(100)
        await desk.arms.look()
        desk.version = 2
        await desk.live.look()
        assert await desk.who_answers() == {"2": "champion"}
        await desk.arms.look()
        assert await desk.who_answers() == {"2": "champion"}

    asyncio.run(story())


def test_a_rollout_beside_another_champion_changes_nothing(engine):
    async def story():
        desk = Desk(engine)
        desk.begin(100)
        desk.version = 7
        await desk.live.look()
        await desk.arms.look()
        assert await desk.who_answers() == {"7": "champion"} and desk.loads == []

    asyncio.run(story())


def test_a_challenger_that_cannot_be_loaded_gets_no_request_and_the_reason_is_told(engine):
    async def story():
        desk = Desk(engine)
        desk.begin(100)
        desk.raises = ValueError("its files differ")
        await desk.arms.look()
        assert await desk.who_answers() == {"1": "champion"}
        assert desk.arms.state()["failure"] == "the rollout of desk is not followed: its files differ"
        desk.raises = None
        await desk.arms.look()
        assert await desk.who_answers() == {"2": "challenger"}
        assert desk.arms.state()["failure"] == ""

    asyncio.run(story())


def test_while_the_database_is_away_requests_stay_divided_as_they_are(engine):
    async def story():
        desk = Desk(engine)
        desk.begin(100)
        await desk.arms.look()

        def away(_):
            raise OSError("the database is away")

        desk.arms._sources = replace(desk.arms._sources, latest=away)
        await desk.arms.look()
        assert await desk.who_answers() == {"2": "challenger"}

    asyncio.run(story())


def test_the_base_answers_where_neither_does(engine):
    async def story():
        desk = Desk(engine, base=lambda reference: FakeEngine(fake_version("base", 0)))
        desk.live.engine.raises = ValueError("broken")
        assert await desk.who_answers(3) == {"0": "base"}
        await desk.arms.close()
        assert desk.arms._base.closed

    asyncio.run(story())
