"""Stub Answerers: one that answers, and those that do every wrong thing."""

import asyncio
import math

from retune.config.rollout import Breaker, Rollout
from retune.serving.answers import Answer, BadAnswer, Overloaded, ServedVersion, Unavailable, Unfit
from retune.serving.router import Router

SETTINGS = Rollout(
    steps=["shadow", 5, 100],
    metric="error",
    confidence=0.95,
    max_error_ratio=1.5,
    negligible_error_rate=0.01,
    max_latency_ratio=1.2,
    max_rating_loss=0.2,
    min_requests=200,
    min_minutes=10.0,
    look_seconds=10.0,
    shadow_queue=4,
    fallback_share=0.4,
    base_arm=False,
    breaker=Breaker(failures=3, rate=0.9, window=20, open_seconds=10.0),
)

RIGHT = Answer("shipping", 0.9, "auto")


class Stub:
    """kind: fine | slow | hung | deaf | dead | raising | nan | few | none | foreign | overloaded | unanswered."""

    def __init__(self, version="1", kind="fine", seconds=0.0):
        self.served = ServedVersion("classifier", version, version * 64)
        self.kind, self.seconds, self.calls = kind, seconds, 0

    async def answer(self, texts, deadline):
        self.calls += 1
        return await getattr(self, f"_{self.kind}")(texts, deadline)

    async def _fine(self, texts, deadline):
        if self.seconds:
            await asyncio.sleep(self.seconds)
        return [RIGHT for _ in texts]

    async def _slow(self, texts, deadline):
        await asyncio.sleep(3600)
        return [RIGHT for _ in texts]

    async def _hung(self, texts, deadline):
        await asyncio.Event().wait()

    async def _deaf(self, texts, deadline):  # to its cancellation, twice
        for _ in range(2):
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue

    async def _dead(self, texts, deadline):
        raise ConnectionRefusedError("nobody listens")

    async def _raising(self, texts, deadline):
        raise ZeroDivisionError

    async def _cancelled(self, texts, deadline):
        raise asyncio.CancelledError

    async def _nan(self, texts, deadline):
        return [Answer("shipping", math.nan, "auto") for _ in texts]

    async def _few(self, texts, deadline):
        return [RIGHT for _ in texts][1:]

    async def _none(self, texts, deadline):
        return None

    async def _foreign(self, texts, deadline):
        return [{"label": "shipping"} for _ in texts]

    async def _overloaded(self, texts, deadline):
        raise Overloaded("no room", retry_after=3.0)

    async def _unfit(self, texts, deadline):
        raise Unfit("the template takes no tools")

    async def _unanswered(self, texts, deadline):
        raise Unavailable("the upstream is away")

    async def _bad(self, texts, deadline):
        raise BadAnswer("not JSON")


FAULTS = (
    "slow",
    "hung",
    "deaf",
    "dead",
    "raising",
    "cancelled",
    "nan",
    "few",
    "none",
    "foreign",
    "overloaded",
    "unfit",
    "unanswered",
    "bad",
)


def arms(**kinds):
    versions = {"champion": "1", "challenger": "2", "base": "3"}
    return {arm: Stub(versions[arm], kind) for arm, kind in kinds.items()}


def router(stubs, split=None, record=None):
    each = Router(stubs, SETTINGS, 1.0, record or (lambda attempt: None))
    each.change(stubs, split)
    return each
