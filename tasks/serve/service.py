"""What the routes of a server share: its models, who may ask, and what it counts."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from fastapi import Request

from retune.config.rollout import Rollout
from retune.config.serving import Serve
from retune.serving.api_keys import KeyRing
from retune.serving.attempts import Attempt
from retune.serving.live_version import LiveVersion
from retune.serving.quarantine import Quarantine
from retune.serving.rate_limit import RateLimit
from retune.serving.request_log import LoggedAnswer
from retune.serving.rollout_arms import ArmSources, RolloutArms
from retune.serving.router import CHAMPION, Routed, Router
from tasks.serve import answer_log
from tasks.serve.errors import RequestRefused, retry_after
from tasks.serve.metrics import EngineMetrics, LogMetrics, RequestMetrics


class Log(Protocol):
    """The request log, as far as a server needs it."""

    written: int
    dropped: int

    @property
    def waiting(self) -> int: ...

    def put(self, rows: Sequence[LoggedAnswer]) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Access:
    """Who may ask. public: other machines may, so everybody needs a key. hosts: see `Edge`."""

    keys: KeyRing
    public: bool
    hosts: Collection[str] | None


class Service:
    def __init__(
        self,
        config: Serve,
        rollout: Rollout,
        models: Sequence[LiveVersion],
        access: Access,
        log: Log,
        quarantine: Quarantine,
        sources: ArmSources,
    ) -> None:
        self.config, self.rollout, self.access = config, rollout, access
        self.log, self.quarantine = log, quarantine
        self.models = {live.served.name: live for live in models}
        self.routers = {
            name: Router({CHAMPION: live.engine}, rollout, self._seconds(live), self._record)
            for name, live in self.models.items()
        }
        self.arms = {
            name: RolloutArms(live, self.routers[name], sources, self._seconds(live))
            for name, live in self.models.items()
        }
        self.metrics = RequestMetrics()
        self.metrics.registry.register(EngineMetrics(models))
        self.metrics.registry.register(LogMetrics(log))
        self.draining = False
        self._needs_key = access.public
        self._limit = RateLimit(config.requests_per_minute)

    def _seconds(self, live: LiveVersion) -> float:
        """That a request to this model may take."""
        return self.config.writing.deadline_seconds if live.served.writes else self.config.deadline_seconds

    def _live(self, model: str | None) -> LiveVersion:
        return self.models[model] if model else next(iter(self.models.values()))

    def _record(self, attempt: Attempt) -> None:
        self.log.put(answer_log.rows(attempt))

    async def answer(self, request: Request, texts: Sequence[str], subject: str | None, model: str | None) -> Routed:
        """Answer the texts of a request, and log it. Raises RequestRefused or Unanswered."""
        self.check_texts(texts)
        state, begin = request.state, time.perf_counter()
        router = self.router(model)
        deadline = state.deadline - self.config.deadline_seconds + self._seconds(self._live(model))
        routed = await router.answer(texts, subject, deadline, state.request_id)
        seconds = time.perf_counter() - begin
        self._record(answer_log.response(state.request_id, subject, texts, routed, seconds))
        self.metrics.answered(routed.served, routed.arm, [answer.route for answer in routed.answers])
        return routed

    async def close(self) -> None:
        """Answer what waits, write what is to be logged, and end."""
        await asyncio.gather(*(router.close() for router in self.routers.values()))
        await asyncio.gather(*(arms.close() for arms in self.arms.values()))
        await asyncio.gather(*(live.close() for live in self.models.values()))
        await asyncio.to_thread(self.log.close)

    @property
    def needs_key(self) -> bool:
        """From the first key on, for as long as the server runs."""
        self._needs_key = self._needs_key or len(self.access.keys) > 0
        return self._needs_key

    def needs(self, scope: str) -> Callable[[Request], Awaitable[None]]:
        """A dependency of a route: refuses who may not ask, or asks too often."""

        async def check(request: Request) -> None:
            caller = self._caller(request, scope)
            request.state.caller = caller
            if seconds := self._limit.wait(caller):
                message = f"more than {self.config.requests_per_minute} requests a minute: wait"
                raise RequestRefused(429, "rate_limited", message, retry_after(seconds))

        return check

    def router(self, name: str | None) -> Router:
        return self.routers[self.model(name).served.name]

    def model(self, name: str | None) -> LiveVersion:
        """The model of a name; the only one where a request names none. Raises RequestRefused if there is none."""
        if name is None and len(self.models) == 1:
            return next(iter(self.models.values()))
        if name is None or name not in self.models:
            wrong = f"there is no model {name[:100]!r}" if name else "several models are served"
            raise RequestRefused(422, "invalid", f'{wrong}: write "model": one of {", ".join(self.models)}')
        return self.models[name]

    def check_texts(self, texts: Sequence[str]) -> None:
        """Raises RequestRefused for more texts, or longer ones, than the parameters allow, and for what is no text."""
        if len(texts) > self.config.max_texts:
            message = f"{len(texts)} texts in one request, {self.config.max_texts} allowed: send several requests"
            raise RequestRefused(413, "too_large", message)
        for number, text in enumerate(texts):
            if len(text) > self.config.max_chars:
                message = f"text {number} has {len(text)} characters, {self.config.max_chars} allowed: shorten it"
                raise RequestRefused(413, "too_large", message)
            if "\0" in text or not _is_unicode(text):
                message = f"text {number} holds a NUL character or half a surrogate pair: remove it"
                raise RequestRefused(422, "invalid", message)

    def _caller(self, request: Request, scope: str) -> str:
        if not self.needs_key:
            return request.client.host if request.client else "unknown"
        word, _, key = request.headers.get("authorization", "").partition(" ")
        entry = self.access.keys.find(key.strip()) if word.lower() == "bearer" else None
        if entry is None:
            message = "send an API key: Authorization: Bearer KEY (`retune api-keys create` makes one)"
            raise RequestRefused(401, "unauthenticated", message, {"WWW-Authenticate": "Bearer"})
        if not entry.allows(scope):
            message = f"the API key {entry.name} is for {', '.join(entry.scopes)}, and this asks for {scope}"
            raise RequestRefused(403, "forbidden", message)
        return entry.name


def _is_unicode(text: str) -> bool:
    """Whether it can be written as UTF-8. JSON may hold halves of surrogate pairs, which no database takes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
