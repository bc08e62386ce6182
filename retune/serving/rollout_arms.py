"""The arms of a served model: its version, the challenger of an open rollout, and the base if params want it.

The table of rollouts is looked at every few seconds, so that several servers on one database divide requests alike. The
challenger is loaded before it gets a request, and let go once no rollout has it. A rollout of another champion than the
version that answers here changes nothing here.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from retune.serving.answers import Answerer
from retune.serving.live_version import Engine, LiveVersion
from retune.serving.rollouts import Rollout, in_words
from retune.serving.router import BASE, CHALLENGER, CHAMPION, Router

LOG = logging.getLogger("retune.serve")


@dataclass(frozen=True)
class ArmSources:
    """Where arms come from. latest: rollout of a model; load: a version by NAME/VERSION; base: that of a version."""

    latest: Callable[[str], Rollout | None]
    load: Callable[[str], Engine]
    base: Callable[[str], Engine] | None


class RolloutArms:
    """linger: seconds for which a challenger is kept after its rollout, for the requests that still hold it."""

    def __init__(self, live: LiveVersion, router: Router, sources: ArmSources, linger: float) -> None:
        """Loads the base. Raises what its loading raises."""
        self._live, self._router, self._sources, self._linger = live, router, sources, linger
        self._challenger: Engine | None = None
        self._rollout: Rollout | None = None
        self._base = sources.base(str(live.served)) if sources.base else None
        self.failure = ""  # why the rollout is not followed; empty if it is, or there is none
        self._ending = asyncio.Event()
        self._retiring: set[asyncio.Task[None]] = set()
        live.on_change = self._divide
        self._divide()

    def state(self) -> dict[str, str] | None:
        """For people: which version is rolled out, its step, and why it gets no request if it gets none."""
        if self._rollout is None and not self.failure:
            return None
        version, step = (self._rollout.version, in_words(self._rollout.step)) if self._rollout else ("", "")
        return {"challenger": version, "step": step, "failure": self.failure}

    async def follow(self, seconds: float) -> None:
        """Look every `seconds`, until it is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(seconds)

    async def look(self) -> None:
        """Take over what the table of rollouts says now. While it is away, requests stay divided as they are."""
        try:
            rollout = await asyncio.to_thread(self._sources.latest, self._live.served.name)
            is_ours = rollout is not None and rollout.is_open and rollout.champion == self._live.served.version
            self._rollout = rollout if is_ours else None
            reference = self._rollout.version if self._rollout else ""
            before = str(self._challenger.served) if self._challenger else ""
            if reference != before:
                engine = await asyncio.to_thread(self._sources.load, reference) if reference else None
                self._replace(engine)
            self._note("")
        except Exception as error:  # a damaged version or a database that is away may raise anything
            self._note(f"the rollout of {self._live.served.name} is not followed: {error}")
        self._divide()

    async def close(self) -> None:
        """Answer what waits, and end."""
        self._ending.set()
        engines = [engine for engine in (self._challenger, self._base) if engine]
        await asyncio.gather(*(engine.close() for engine in engines), *self._retiring)

    def _divide(self) -> None:
        arms: dict[str, Answerer] = {CHAMPION: self._live.engine}
        if self._base:
            arms[BASE] = self._base
        rollout, challenger, split = self._rollout, self._challenger, None
        stays = rollout is not None and rollout.champion == self._live.served.version  # else the alias has moved
        if rollout and stays and challenger and str(challenger.served) == rollout.version:
            arms[CHALLENGER], split = challenger, rollout.split
        self._router.change(arms, split)

    def _replace(self, engine: Engine | None) -> None:
        old, self._challenger = self._challenger, engine
        if old:
            task = asyncio.create_task(self._retire(old))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    async def _retire(self, old: Engine) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), self._linger)
        await old.close()

    def _note(self, failure: str) -> None:
        if failure and failure != self.failure:
            LOG.error("%s", failure)
        self.failure = failure
