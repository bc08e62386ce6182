"""Models that write, in this process: small ones, and those that somebody tries. Larger ones stand behind an upstream.

One thread computes. What waits is batched by version, the oldest request first, and each batch is written to its end by
the same greedy generation as in evaluation. Adapters of one base share its network in memory: a batch switches to its
own. A row ends early at a word that stops it, at its deadline, or where nobody waits for it any more.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from retune.config.writing import ServeWriting
from retune.errors import Refused
from retune.models import causal_lm, decoder, routing
from retune.models.causal_lm import CausalLM
from retune.models.manifest import read_causal_lm
from retune.models.routing import Routing
from retune.serving.answers import Answer, Overloaded, ServedVersion, TooLate, Unanswered, Unavailable, Unfit
from retune.serving.writing import Prompt, Written, before_stop, prompt_of, route, safe_length

LOG = logging.getLogger(__name__)
Event = str | Written | Unanswered


@dataclass(eq=False)
class _Job:
    """One text to write. The loop waits for its events, the thread sends them."""

    prompt: Prompt
    ends: float  # on time.monotonic
    send: Callable[[Event], None]
    tokens_read: list[int] = field(default_factory=list)
    cut: int = 0  # tokens of the prompt before them
    limit: int = 0  # of the tokens of the answer
    tokens: list[int] = field(default_factory=list)
    letters_out: int = 0  # of the text, that were sent as pieces
    finish: str = ""  # stop | length; empty: not finished
    abandoned: bool = False


class DecoderEngine:
    """Loads versions and writes for all of them, in one thread. `close` ends it."""

    def __init__(self, settings: ServeWriting, device: str = "auto") -> None:
        self.settings, self.device = settings, device
        self.writers: list[DecoderWriter] = []
        self._waiting: deque[tuple[DecoderWriter, _Job]] = deque()
        self._changed = threading.Condition()
        self._computing = threading.Lock()  # who holds it may change networks
        self._closed, self._loads = False, 0
        self._thread = threading.Thread(target=self._run, name="retune-writes", daemon=True)
        self._thread.start()

    def load(self, served: ServedVersion, folder: Path) -> "DecoderWriter":
        """The version in a checked model folder, ready to write: on a base that is in memory already, if it can be."""
        manifest = read_causal_lm(folder)
        twin = next((each for each in self.writers if causal_lm.shares_base(manifest, each.model.manifest)), None)
        self._loads += 1
        if twin is None:
            model = causal_lm.load(folder, self.device)
        else:
            with self._computing:
                model = causal_lm.load_beside(folder, twin.model, f"adapter{self._loads}")
        writer = DecoderWriter(served, self, model, routing.read(folder))
        self.writers.append(writer)
        return writer

    def drop(self, writer: "DecoderWriter") -> None:
        """Let go of a version's adapter, and with the last one of its base. Its requests must have ended."""
        self.writers.remove(writer)
        network, adapter = writer.model.network, writer.model.adapter
        twin = next((each.model.adapter for each in self.writers if each.model.network is network), None)
        if adapter and twin:
            with self._computing:
                decoder.use_adapter(network, twin)
                decoder.drop_adapter(network, adapter)

    def put(self, writer: "DecoderWriter", jobs: Sequence[_Job]) -> None:
        with self._changed:
            if self._closed:
                raise Unavailable(f"{writer.served} is not served any more: this server ends")
            if len(self._waiting) + len(jobs) > self.settings.queue_texts:
                raise Overloaded(f"{len(self._waiting)} texts wait to be written: ask again later, or in smaller parts")
            self._waiting.extend((writer, job) for job in jobs)
            self._changed.notify()

    def close(self) -> None:
        """End after the batch that is being written. What still waits is told so."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        for writer, job in self._waiting:
            job.send(Unavailable(f"{writer.served} is not served any more: this server ends"))
        self._waiting.clear()

    def _run(self) -> None:
        while batch := self._next_batch():
            writer, jobs = batch
            try:
                with self._computing:
                    _write(writer, jobs)
            except Exception as error:  # whatever it is, the thread must live, and each of these learn of it
                LOG.exception("%s could not write", writer.served)
                for job in jobs:
                    job.send(Unanswered(f"{writer.served} could not write: {type(error).__name__}; see the log"))

    def _next_batch(self) -> "tuple[DecoderWriter, list[_Job]] | None":
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            first = self._waiting[0][0]
            jobs: list[_Job] = []
            others: deque[tuple[DecoderWriter, _Job]] = deque()
            for writer, job in self._waiting:
                if writer is first and len(jobs) < self.settings.batch_texts:
                    jobs.append(job)
                else:
                    others.append((writer, job))
            self._waiting = others
            return first, jobs


class DecoderWriter:
    """A version in memory that writes: an `Answerer` whose answers are `Written`."""

    def __init__(self, served: ServedVersion, engine: DecoderEngine, model: CausalLM, routing: Routing) -> None:
        self.served, self.engine, self.model, self.routing = served, engine, model, routing
        self._requests = 0
        self._idle = asyncio.Event()

    async def answer(self, texts: Sequence[str], deadline: float) -> list[Answer]:
        """Whoever leaves early abandons what is not written yet."""
        loop = asyncio.get_running_loop()
        ends = time.monotonic() + deadline - loop.time()
        prompts, queues = [prompt_of(text) for text in texts], [asyncio.Queue[Event]() for _ in texts]
        jobs = [_Job(prompt, ends, _sender(loop, queue)) for prompt, queue in zip(prompts, queues, strict=True)]
        self.engine.put(self, jobs)
        self._requests += 1
        try:
            return [await self._whole(job.prompt, queue, deadline) for job, queue in zip(jobs, queues, strict=True)]
        finally:
            for job in jobs:
                job.abandoned = True
            self._requests -= 1
            self._idle.set()

    async def close(self) -> None:
        """Answer what waits, and let go of the adapter."""
        while self._requests:
            self._idle.clear()
            await self._idle.wait()
        await asyncio.to_thread(self.engine.drop, self)

    async def _whole(self, prompt: Prompt, queue: asyncio.Queue[Event], deadline: float) -> Written:
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    event = await queue.get()
            except TimeoutError:
                raise TooLate(f"{self.served} was still writing at the deadline") from None
            if isinstance(event, Unanswered):
                raise event
            if isinstance(event, Written):
                return event
            if prompt.on_piece:
                prompt.on_piece(self.served, event)


def _sender(loop: asyncio.AbstractEventLoop, queue: asyncio.Queue[Event]) -> Callable[[Event], None]:
    def send(event: Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever asked
            loop.call_soon_threadsafe(queue.put_nowait, event)

    return send


def _write(writer: DecoderWriter, jobs: Sequence[_Job]) -> None:
    """Write one batch to its end."""
    model = writer.model
    jobs = [job for job in jobs if not _is_over(job) and _read_prompt(writer, job)]
    if not jobs:
        return
    end = int(model.tokenizer.eos_token_id)

    def on_step(tokens: list[int]) -> list[bool]:
        return [_take(job, token, end, model) for job, token in zip(jobs, tokens, strict=True)]

    model.generate([job.tokens_read for job in jobs], max(job.limit for job in jobs), on_step)
    complete = [job for job in jobs if job.finish]
    likelihood = model.likelihood_of([job.tokens_read for job in complete], [job.tokens for job in complete])
    for job, confidence in zip(complete, likelihood.mean.tolist(), strict=True):
        text, _ = before_stop(model.decode(job.tokens), job.prompt.stop)
        if job.prompt.on_piece and text[job.letters_out :]:
            job.send(text[job.letters_out :])
        job.send(
            Written(
                text,
                confidence,
                route(writer.routing, text, confidence),
                finish=job.finish,
                prompt_tokens=len(job.tokens_read) + job.cut,
                completion_tokens=len(job.tokens),
                cut_tokens=job.cut,
            )
        )


def _read_prompt(writer: DecoderWriter, job: _Job) -> bool:
    """Whether the prompt fits the version's template; otherwise whoever asked learns why not."""
    manifest = writer.model.manifest
    try:
        tokens = causal_lm.encode(writer.model.tokenizer, job.prompt)
    except Refused as error:
        job.send(Unfit(str(error)))
        return False
    job.tokens_read = tokens[-manifest.prompt_limit :]
    job.cut = len(tokens) - len(job.tokens_read)
    job.limit = min(job.prompt.max_tokens or manifest.max_new_tokens, manifest.max_new_tokens)
    return True


def _is_over(job: _Job) -> bool:
    return job.abandoned or time.monotonic() > job.ends


def _take(job: _Job, token: int, end: int, model: CausalLM) -> bool:
    """Whether the job's text ends with this token."""
    if job.finish or _is_over(job):
        return True
    job.tokens.append(token)
    if token == end:
        job.finish = "stop"
    elif len(job.tokens) >= job.limit:
        job.finish = "length"
    if job.prompt.on_piece or job.prompt.stop:
        _show(job, model.decode(job.tokens))
    return job.finish != ""


def _show(job: _Job, text: str) -> None:
    text, stopped = before_stop(text, job.prompt.stop)
    if stopped:
        job.finish = "stop"
    elif not job.finish:
        text = text[: safe_length(text, job.prompt.stop)]
    if job.prompt.on_piece and len(text) > job.letters_out:
        job.send(text[job.letters_out :])
        job.letters_out = len(text)
