"""An event loop whose clock jumps over every wait, so that a test of deadlines takes no time."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _Selector(selectors.SelectSelector):
    now = 0.0

    def select(self, timeout=None):
        events = super().select(0)
        if not events and timeout:
            self.now += timeout
        return events


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self):
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self):
        return self._virtual.now


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """As asyncio.run, without waiting. Nothing in it may wait for a thread."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(work)
