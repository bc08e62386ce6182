"""A classifier that answers many callers at once: one thread reads their texts in batches.

Callers put texts into a bounded queue. The thread tokenises what came, answers from the cache what it has read before,
and reads the rest in batches of similar length (`micro_batches`); while it reads one batch, the texts of the next one
gather. A caller whose deadline has passed is no longer read for.
"""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from retune.config.serving import Serve
from retune.errors import Refused
from retune.models import classifier, routing
from retune.serving.answers import Answer, BadAnswer, Overloaded, ServedVersion, TooLate, Unanswered, Unavailable
from retune.serving.micro_batches import next_batch
from retune.serving.response_cache import ResponseCache

LOG = logging.getLogger("retune.serve")
RATE_MEMORY = 0.8  # share of the earlier rate in the average, a batch
LONGEST_RETRY = 30  # seconds
WARM_UP = "Where is my parcel?"


@dataclass
class _Request:
    texts: list[str]
    answers: list[Answer | None]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[list[Answer]]
    missing: int


@dataclass
class _Text:
    request: _Request
    place: int
    ids: tuple[int, ...] = field(default=())


@dataclass
class Counts:
    """What an engine has done since it began."""

    texts: int = 0  # read by the network
    batches: int = 0
    tokens: int = 0  # read, with padding
    seconds: float = 0.0  # in which it read


class EncoderEngine:
    """An Answerer of a classifier in this process."""

    def __init__(
        self, served: ServedVersion, model: classifier.Classifier, rule: routing.Routing, config: Serve
    ) -> None:
        self.served, self.counts, self.cache = served, Counts(), ResponseCache(config.cache_texts)
        self.waiting = 0  # texts that came and have no answer yet
        self.model, self._routing, self._config = model, rule, config
        self._pad = classifier.pad_id(model.tokenizer)
        self._rate = 0.0  # texts a second
        self._arrivals: list[_Text] = []
        self._changed, self._closing = threading.Condition(), False
        self._worker = threading.Thread(target=self._work, name=f"encoder {served}", daemon=True)
        self._worker.start()

    async def answer(self, texts: Sequence[str], deadline: float) -> list[Answer]:
        """Raises Overloaded if the queue has no room, TooLate after the deadline, Unavailable once it is closed."""
        cached = [self.cache.get(text) for text in texts]
        answers = [answer for answer in cached if answer is not None]
        if len(answers) == len(texts):
            return answers
        loop = asyncio.get_running_loop()
        request = _Request(list(texts), cached, loop, loop.create_future(), len(texts) - len(answers))
        self._admit([_Text(request, place) for place, answer in enumerate(cached) if answer is None])
        try:
            async with asyncio.timeout_at(deadline):
                return await request.future
        except TimeoutError:
            raise TooLate(f"{self.served} had no answer in time: send fewer texts at once, or try again") from None

    async def close(self) -> None:
        """Answer what waits, then end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        await asyncio.to_thread(self._worker.join)

    def _admit(self, texts: list[_Text]) -> None:
        with self._changed:
            if self._closing:
                raise Unavailable(f"{self.served} takes no more texts: it is being replaced or the server ends")
            if self.waiting and self.waiting + len(texts) > self._config.queue_texts:
                raise Overloaded(f"{self.waiting} texts wait for {self.served}: try again later", self._retry_after())
            self.waiting += len(texts)
            self._arrivals += texts
            self._changed.notify()

    def _retry_after(self) -> float:
        """Seconds until what waits is read, at the rate of now."""
        seconds = self.waiting / self._rate if self._rate else 1.0
        return min(max(math.ceil(seconds), 1), LONGEST_RETRY)

    def _work(self) -> None:
        pool: list[_Text] = []
        while True:
            was_idle = not pool
            pool += self._tokenised(self._take(None if was_idle else 0.0))
            if was_idle:
                pool = self._gathered(pool)
            pool = self._still_wanted(pool)
            if pool:
                chosen = set(places := next_batch([len(text.ids) for text in pool], self._config.batch_tokens))
                self._read([pool[place] for place in places])
                pool = [text for place, text in enumerate(pool) if place not in chosen]
            elif self._closing and not self._arrivals:
                return

    def _take(self, seconds: float | None) -> list[_Text]:
        """What has arrived; waits for an arrival or the end, at most these seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._arrivals or self._closing, seconds)
            arrivals, self._arrivals = self._arrivals, []
            return arrivals

    def _gathered(self, pool: list[_Text]) -> list[_Text]:
        """The pool of an engine that was idle, and what comes within the wait of the parameters."""
        end = time.monotonic() + self._config.wait_ms / 1000
        while pool and not self._closing and (patience := end - time.monotonic()) > 0:
            if len(pool) * max(len(text.ids) for text in pool) >= self._config.batch_tokens:
                break
            pool = pool + self._tokenised(self._take(patience))
        return pool

    def _tokenised(self, arrivals: list[_Text]) -> list[_Text]:
        """Those that have to be read. What the cache has by its tokens is answered at once."""
        if not arrivals:
            return []
        try:
            texts = [text.request.texts[text.place] for text in arrivals]
            tokens = classifier.tokenize(self.model.tokenizer, texts, self.model.manifest.max_tokens)
        except Exception as error:  # of the tokenizer's library: no caller may wait for ever
            self._fail(arrivals, error)
            return []
        unread: list[_Text] = []
        answers: list[tuple[_Text, Answer]] = []
        for text, ids in zip(arrivals, tokens, strict=True):
            text.ids = tuple(ids)
            answer = self.cache.get(text.ids)
            if answer is None:
                self.cache.misses += 1
                unread.append(text)
            else:
                answers.append((text, answer))
        self._give(answers)
        return unread

    def _still_wanted(self, pool: list[_Text]) -> list[_Text]:
        open_texts = [text for text in pool if not text.request.future.done()]
        self._leave(len(pool) - len(open_texts))
        return open_texts

    def _read(self, batch: list[_Text]) -> None:
        begin = time.perf_counter()
        try:
            answers = self._answers([list(text.ids) for text in batch])
        except Exception as error:  # of the weights, or of torch: no caller may wait for ever
            self._fail(batch, error)
            return
        self._count(len(batch), len(batch) * max(len(text.ids) for text in batch), time.perf_counter() - begin)
        for text, answer in zip(batch, answers, strict=True):
            self.cache.put(text.ids, answer)
            self.cache.put(text.request.texts[text.place], answer)
        self._give(list(zip(batch, answers, strict=True)))

    def _answers(self, tokens: classifier.Tokens) -> list[Answer]:
        vectors = classifier.embed_tokens(self.model.encoder, tokens, self._pad, len(tokens))
        predictions = self.model.answer(vectors)
        routes = self._routing.routes(predictions.labels, predictions.confidence)
        rows = zip(predictions.labels, predictions.confidence.tolist(), routes, vectors.numpy(), strict=True)
        return [Answer(label, confidence, route, vector.copy()) for label, confidence, route, vector in rows]

    def _count(self, texts: int, tokens: int, seconds: float) -> None:
        self.counts.texts += texts
        self.counts.batches += 1
        self.counts.tokens += tokens
        self.counts.seconds += seconds
        rate = texts / max(seconds, 1e-6)
        self._rate = RATE_MEMORY * self._rate + (1 - RATE_MEMORY) * rate if self._rate else rate

    def _give(self, answers: list[tuple[_Text, Answer]]) -> None:
        """Hand the requests whose last answer is among these to their loops, each loop once."""
        complete: dict[asyncio.AbstractEventLoop, list[_Request]] = {}
        for text, answer in answers:
            request = text.request
            request.answers[text.place] = answer
            request.missing -= 1
            if not request.missing:
                complete.setdefault(request.loop, []).append(request)
        self._leave(len(answers))
        for loop, requests in complete.items():
            _hand_over(loop, requests)

    def _fail(self, texts: list[_Text], error: Exception) -> None:
        self._leave(len(texts))
        if isinstance(error, Refused):
            unanswered: Unanswered = BadAnswer(str(error))
        else:
            LOG.error("%s could not read %d texts", self.served, len(texts), exc_info=error)
            unanswered = Unanswered(f"{self.served} could not read the texts: the log of the server says why")
        for text in texts:
            _hand_over(text.request.loop, [text.request], unanswered)

    def _leave(self, texts: int) -> None:
        with self._changed:
            self.waiting -= texts


def _hand_over(loop: asyncio.AbstractEventLoop, requests: list[_Request], error: Unanswered | None = None) -> None:
    try:
        loop.call_soon_threadsafe(_resolve, requests, error)
    except RuntimeError:  # the loop has ended, and with it whoever waited
        LOG.debug("nobody waits any more for %d requests", len(requests))


def _resolve(requests: list[_Request], error: Unanswered | None) -> None:
    for request in requests:
        if request.future.done():  # its deadline has passed, or another of its texts failed
            continue
        if error is not None:
            request.future.set_exception(error)
        else:
            request.future.set_result([answer for answer in request.answers if answer is not None])


def load_base(served: ServedVersion, folder: Path, config: Serve) -> EncoderEngine:
    """The same of the base that the version began from, under its probe, for when nothing better answers.

    Nothing is promised for its answers, so a person reads them all.
    """
    model = classifier.load_probe(folder)
    model.predict([WARM_UP])
    return EncoderEngine(served, model, routing.Routing(None, {}, "the base answers"), config)


def load(served: ServedVersion, folder: Path, config: Serve) -> EncoderEngine:
    """An engine of a version in a checked model folder, warm. Raises Refused if the folder is damaged."""
    model = classifier.load(folder)
    model.predict([WARM_UP])
    return EncoderEngine(served, model, routing.read(folder), config)
