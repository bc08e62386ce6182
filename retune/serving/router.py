"""Which arm answers a request, and who answers when it does not: challenger, then champion, then base, or an error.

    router = Router({"champion": engine}, params.rollout, params.serve.deadline_seconds, record)
    router.change({"champion": engine, "challenger": other}, Split(...))   # a rollout began, or took a step
    routed = await router.answer(texts, subject, deadline, request_id)

Each decision has a reason in words. Every attempt that did not give the response goes to `record`: what failed, and
what was asked in the shadow. Part of the time stays for the arms to fall back to, so a hung challenger costs a request
some of its time, and not its answer.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from retune.config.rollout import Rollout
from retune.serving import attempts
from retune.serving.answers import Answer, Answerer, Overloaded, ServedVersion, TooLate, Unanswered, Unavailable, Unfit
from retune.serving.attempts import Attempt, Record
from retune.serving.circuit_breaker import CircuitBreaker
from retune.serving.shadow import Shadow
from retune.serving.split import Split

CHALLENGER, CHAMPION, BASE = "challenger", "champion", "base"
ORDER = (CHALLENGER, CHAMPION, BASE)  # of falling back


@dataclass(frozen=True)
class Routed:
    """A response: one answer a text, and who gave it."""

    answers: list[Answer]
    served: ServedVersion
    arm: str
    reason: str


@dataclass(frozen=True)
class _Request:
    texts: Sequence[str]
    subject: str
    deadline: float
    request_id: str


class Router:
    """The arms of one model. Used from one event loop."""

    def __init__(
        self,
        arms: Mapping[str, Answerer],
        settings: Rollout,
        seconds: float,
        record: Record,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """seconds: that the challenger has for a request in the shadow."""
        self._arms = dict(arms)
        self._split: Split | None = None
        self._settings, self._record, self._clock = settings, record, clock
        self._breakers: dict[str, tuple[ServedVersion, CircuitBreaker]] = {}
        self.shadow = Shadow(settings.shadow_queue, seconds, record)

    def change(self, arms: Mapping[str, Answerer], split: Split | None) -> None:
        """Take other arms, or another step of a rollout. Requests that an arm has are answered by it."""
        self._arms, self._split = dict(arms), split

    @property
    def split(self) -> Split | None:
        return self._split

    @property
    def breakers(self) -> dict[str, str]:
        """arm -> closed, open or half-open."""
        return {arm: self._breaker(arm).state for arm in self._arms}

    async def answer(self, texts: Sequence[str], subject: str | None, deadline: float, request_id: str = "") -> Routed:
        """subject: who asks, and gets the same arm for a whole rollout; the request's id stands in for it.

        deadline: on the clock of the running loop. Raises Unanswered by then, and no other error.
        """
        request = _Request(texts, subject or "", deadline, request_id)
        arms, split = self._arms, self._split
        first, reason = _choose(arms, split, subject or request_id, "sticky" if subject else "by request")
        routed = await self._first_answer(arms, request, first, reason)
        if split and split.shadow and routed.arm == CHAMPION and (challenger := arms.get(CHALLENGER)):
            self.shadow.offer(challenger, request_id, request.subject, texts)
        return routed

    async def close(self) -> None:
        await self.shadow.close()

    async def _first_answer(self, arms: Mapping[str, Answerer], request: _Request, first: str, reason: str) -> Routed:
        """Of the arms from `first` on, by the order of falling back."""
        order = [arm for arm in ORDER[ORDER.index(first) :] if arm in arms]
        failures: list[Unanswered] = []
        for place, arm in enumerate(order):
            breaker = self._breaker(arm, arms[arm])
            if not breaker.allows():
                reason = f"breaker open: {arm}"
                failures.append(Unavailable(f"{arms[arm].served} fails again and again: ask again in some seconds"))
                continue
            try:
                answers = await self._attempt(arms[arm], breaker, request, arm, reason, is_last=arm == order[-1])
            except Unanswered as error:
                failures.append(error)
                reason = f"fallback: {arm} {error.kind}"
            else:
                return Routed(answers, arms[arm].served, arm, reason)
            if place + 1 < len(order) and asyncio.get_running_loop().time() >= request.deadline:
                break
        raise _most_helpful(failures)

    async def _attempt(
        self, answerer: Answerer, breaker: CircuitBreaker, request: _Request, arm: str, reason: str, is_last: bool
    ) -> list[Answer]:
        now = asyncio.get_running_loop().time
        start = now()
        rest = request.deadline - start
        until = request.deadline if is_last else start + rest * (1 - self._settings.fallback_share)
        try:
            if rest <= 0:
                raise TooLate("the deadline passed before an arm was free")
            answers = await attempts.ask(answerer, request.texts, until)
        except Unanswered as error:
            (breaker.release if isinstance(error, Overloaded | Unfit) or rest <= 0 else breaker.fail)()
            self._record(
                Attempt(
                    request.request_id,
                    request.subject,
                    tuple(request.texts),
                    arm,
                    answerer.served,
                    reason,
                    (),
                    error.kind,
                    now() - start,
                )
            )
            raise
        except BaseException:  # the caller has gone
            breaker.release()
            raise
        breaker.succeed()
        return answers

    def _breaker(self, arm: str, answerer: Answerer | None = None) -> CircuitBreaker:
        """Of the version that the arm is now: another version begins with a closed one."""
        served = (answerer or self._arms[arm]).served
        version, breaker = self._breakers.get(arm, (None, None))
        if breaker is None or version != served:
            breaker = CircuitBreaker(self._settings.breaker, self._clock)
            self._breakers[arm] = (served, breaker)
        return breaker


def _choose(arms: Mapping[str, Answerer], split: Split | None, key: str, how: str) -> tuple[str, str]:
    """The arm of a subject, and why."""
    if split is None:
        return CHAMPION, "no rollout"
    if split.shadow:
        return CHAMPION, "shadow"
    if not split.takes(key):
        return CHAMPION, f"{how}, not in the {split.step}"
    if CHALLENGER not in arms:
        return CHAMPION, "the challenger is not loaded"
    return CHALLENGER, f"{how} {split.step}"


def _most_helpful(failures: Sequence[Unanswered]) -> Unanswered:
    """The error that a client can act on: when to ask again, else the first that is no open breaker."""
    for kind in (Overloaded, Unanswered):
        for failure in failures:
            if isinstance(failure, kind) and not (kind is Unanswered and isinstance(failure, Unavailable)):
                return failure
    return failures[0] if failures else Unavailable("no version is loaded")
