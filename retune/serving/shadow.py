"""Has the challenger answer, for nobody, what the champion has answered: off the way of the responses.

A bounded queue, whose drops are counted, and one worker: a slow challenger delays no response, and takes no more from
the machine than one request at a time.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from retune.serving import attempts
from retune.serving.answers import Answerer, Unanswered
from retune.serving.attempts import Attempt, Record

ARM = "shadow"


class Shadow:
    """Counters: offered, dropped. seconds: that the challenger has for a request."""

    def __init__(self, room: int, seconds: float, record: Record) -> None:
        self._queue: asyncio.Queue[tuple[Answerer, str, str, tuple[str, ...]]] = asyncio.Queue(room)
        self._seconds, self._record = seconds, record
        self._worker: asyncio.Task[None] | None = None
        self.offered = self.dropped = 0

    def offer(self, answerer: Answerer, request_id: str, subject: str, texts: Sequence[str]) -> None:
        """Never waits. Dropped and counted where the queue is full."""
        self.offered += 1
        if self._worker is None or self._worker.done():
            self._worker = asyncio.ensure_future(self._work())
        try:
            self._queue.put_nowait((answerer, request_id, subject, tuple(texts)))
        except asyncio.QueueFull:
            self.dropped += 1

    async def close(self) -> None:
        """Drop what waits."""
        self.dropped += self._queue.qsize()
        if self._worker:
            self._worker.cancel()
            with suppress(asyncio.CancelledError):
                await self._worker

    async def _work(self) -> None:
        while True:
            answerer, request_id, subject, texts = await self._queue.get()
            clock = asyncio.get_running_loop().time
            start = clock()
            try:
                answers, error = tuple(await attempts.ask(answerer, texts, start + self._seconds)), ""
            except Unanswered as problem:
                answers, error = (), problem.kind
            took = clock() - start
            self._record(Attempt(request_id, subject, texts, ARM, answerer.served, ARM, answers, error, took))
