import asyncio

from retune.errors import Refused
from retune.registry.version import Version
from retune.serving.answers import Answer, ServedVersion
from retune.serving.live_version import LiveVersion


def version(number):
    return Version("desk", number, "run", "2026-01-01", (), {"seal": f"seal{number}"})


class FakeEngine:
    def __init__(self, version):
        self.served = ServedVersion(version.name, str(version.version), version.tags["seal"])
        self.closed = False

    async def answer(self, texts, deadline):
        await asyncio.sleep(0)
        return [Answer(self.served.version, 1.0, "auto")] * len(texts)

    async def close(self):
        self.closed = True


class Registry:
    """An alias that moves; versions in `broken` cannot be loaded."""

    def __init__(self):
        self.now, self.broken, self.loads = 1, {}, []

    def resolve(self, reference):
        if isinstance(self.now, Exception):
            raise self.now
        return version(self.now)

    def load(self, version):
        self.loads.append(version.version)
        if error := self.broken.get(version.version):
            raise error
        return FakeEngine(version)


def live_version(registry):
    return LiveVersion("desk@champion", registry.resolve, registry.load, 0.01)


def test_a_version_that_the_alias_names_anew_takes_over_and_the_old_one_is_closed():
    async def story():
        registry = Registry()
        live = live_version(registry)
        old = live.engine
        await live.look()
        assert (live.swaps, registry.loads) == (0, [1])
        registry.now = 2
        changes = []
        live.on_change = lambda: changes.append((str(live.served), old.closed))
        await live.look()
        assert (str(live.served), live.swaps, live.failure) == ("desk/2", 1, "")
        assert changes == [("desk/2", False)]
        await live.close()
        assert old.closed and live.engine.closed

    asyncio.run(story())


def test_a_version_that_cannot_be_loaded_leaves_the_old_one_and_says_why(caplog):
    async def story():
        registry = Registry()
        live = live_version(registry)
        registry.now, registry.broken = 2, {2: Refused("desk/2 is not what was registered")}
        for _ in range(3):
            await live.look()
        assert str(live.served) == "desk/1" and "desk/2 is not what was registered" in live.failure
        assert (live.failures, live.swaps) == (3, 0)
        assert len([record for record in caplog.records if "stays" in record.message]) == 1  # told once
        registry.now = Refused("no alias champion")
        await live.look()
        assert "no alias champion" in live.failure
        registry.now = 1
        await live.look()
        assert live.failure == ""

    asyncio.run(story())


def test_following_looks_again_and_again_until_it_is_cancelled():
    async def story():
        registry = Registry()
        live = live_version(registry)
        task = asyncio.create_task(live.follow(0.001))
        registry.now = 2
        while live.swaps == 0:
            await asyncio.sleep(0.001)
        registry.now = 3
        while live.swaps == 1:
            await asyncio.sleep(0.001)
        task.cancel()

    asyncio.run(asyncio.wait_for(story(), 10))
