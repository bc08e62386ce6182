"""Asks one arm, and takes nothing but an answer by the deadline or an Unanswered, whatever the arm does."""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from retune.models.routing import AUTO, HUMAN
from retune.serving.answers import Answer, Answerer, BadAnswer, ServedVersion, TooLate, Unanswered

ABANDONED: set[asyncio.Task[list[Answer]]] = set()  # that still run after their deadline; the loop keeps no reference


@dataclass(frozen=True)
class Attempt:
    """What an arm did with a request for which it did not give the response: it failed, or was asked in the shadow."""

    request_id: str
    subject: str
    texts: tuple[str, ...]
    arm: str
    served: ServedVersion
    reason: str  # for the arm
    answers: tuple[Answer, ...]  # empty if it failed
    error: str  # the kind of Unanswered; empty if it answered
    seconds: float


Record = Callable[[Attempt], None]


async def ask(answerer: Answerer, texts: Sequence[str], deadline: float) -> list[Answer]:
    """One answer a text. deadline: on the clock of the running loop. Raises Unanswered, also for an arm that hangs.

    An arm that keeps the event loop itself busy cannot be interrupted: an Answerer must not do that.
    """
    task = asyncio.ensure_future(answerer.answer(texts, deadline))
    try:
        # Not wait_for: it waits for the arm to take notice of its cancellation, which a hung one does not.
        await asyncio.wait({task}, timeout=max(0.0, deadline - asyncio.get_running_loop().time()))
    except asyncio.CancelledError:
        _abandon(task)
        raise
    if not task.done():
        _abandon(task)
        raise TooLate(f"{answerer.served} did not answer in time")
    if task.cancelled():
        raise Unanswered(f"{answerer.served} gave up")
    error = task.exception()
    if isinstance(error, Unanswered):
        raise error
    if error is not None:
        raise Unanswered(f"{answerer.served} failed: {type(error).__name__}") from error
    return _checked(answerer.served, texts, task.result())


def _abandon(task: asyncio.Task[list[Answer]]) -> None:
    ABANDONED.add(task)
    task.add_done_callback(_forget)
    task.cancel()


def _forget(task: asyncio.Task[list[Answer]]) -> None:
    ABANDONED.discard(task)
    if not task.cancelled():
        task.exception()  # else the loop warns that nobody asked for it


def _checked(served: ServedVersion, texts: Sequence[str], answers: object) -> list[Answer]:
    if not isinstance(answers, list | tuple) or len(answers) != len(texts):
        count = len(answers) if isinstance(answers, list | tuple) else type(answers).__name__
        raise BadAnswer(f"{served} gave {count} answers for {len(texts)} texts")
    for answer in answers:
        if not isinstance(answer, Answer) or not isinstance(answer.label, str) or answer.route not in (AUTO, HUMAN):
            raise BadAnswer(f"{served} gave something that is no answer")
        if not isinstance(answer.confidence, float) or not math.isfinite(answer.confidence):
            raise BadAnswer(f"{served} gave a confidence that is no number")
    return list(answers)
