"""The version that a reference names: loaded, and replaced where its alias moves to another one.

The new version is loaded beside the old one and takes over between two requests. What the old one has taken it still
answers, so no request is lost, and none is answered by two versions. A version that cannot be loaded takes over
nothing: the old one stays, and `failure` says why.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from retune.registry.version import Version
from retune.serving.answers import Answerer, ServedVersion

LOG = logging.getLogger("retune.serve")


class Engine(Answerer, Protocol):
    """An Answerer that holds memory and threads until it is closed."""

    async def close(self) -> None: ...


class LiveVersion:
    """reference: NAME@ALIAS or NAME/VERSION. resolve: finds the version of a reference. load: makes it answer.

    linger: seconds for which an old version is kept, for the requests that still hold it.
    """

    def __init__(
        self, reference: str, resolve: Callable[[str], Version], load: Callable[[Version], Engine], linger: float
    ) -> None:
        """Loads the version. Raises what `resolve` and `load` raise."""
        self.reference, self._resolve, self._load, self._linger = reference, resolve, load, linger
        self.engine = load(resolve(reference))
        self.failure = ""  # why the version that the alias names now does not answer; empty if it does
        self.swaps = self.failures = 0
        self.on_change: Callable[[], None] = lambda: None  # called once another version has taken over
        self._ending = asyncio.Event()
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def served(self) -> ServedVersion:
        return self.engine.served

    async def look(self) -> None:
        """Look the reference up, and let its version take over if it is another one."""
        try:
            version = await asyncio.to_thread(self._resolve, self.reference)
            if (version.name, str(version.version)) == (self.served.name, self.served.version):
                self.failure = ""
                return
            engine = await asyncio.to_thread(self._load, version)
        except Exception as error:  # a damaged version may raise anything, and the one that answers stays
            self._note(f"{self.reference}: {error}")
            return
        old, self.engine = self.engine, engine
        self.swaps, self.failure = self.swaps + 1, ""
        self.on_change()
        LOG.warning("%s answers in place of %s", engine.served, old.served)
        task = asyncio.create_task(self._retire(old))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def follow(self, seconds: float) -> None:
        """Look every `seconds`, until it is cancelled."""
        while True:
            await asyncio.sleep(seconds)
            await self.look()

    async def close(self) -> None:
        """Answer what waits, and end."""
        self._ending.set()
        await asyncio.gather(self.engine.close(), *self._retiring)

    async def _retire(self, old: Engine) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), self._linger)
        await old.close()

    def _note(self, failure: str) -> None:
        self.failures += 1
        if failure != self.failure:
            LOG.error("%s stays: %s", self.served, failure)
        self.failure = failure
