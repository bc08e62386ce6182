"""What a model that writes is asked and what it gives: a text in pieces, or whole, with its confidence and route."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from retune.models.routing import HUMAN, Routing
from retune.serving.answers import Answer, Answerer


@dataclass(frozen=True)
class WriteRequest:
    text: str  # a prompt: plain, or messages as a row stores them
    max_tokens: int | None = None  # None, and whatever is more: as many as the longest answer the version learned from
    stop: tuple[str, ...] = ()  # the answer ends before the first of these


@dataclass(frozen=True)
class Written:
    answer: Answer  # its label is the text
    finish: str  # stop | length
    prompt_tokens: int
    completion_tokens: int
    cut_tokens: int = 0  # of the prompt's beginning, which the version did not read: it was too long


class Writer(Answerer, Protocol):
    """A version that writes, ready to answer. Every method raises Unanswered, and no other error."""

    async def write(self, requests: Sequence[WriteRequest], deadline: float) -> list[Written]:
        """One text a request, in their order. deadline: on the clock of `asyncio`'s loop, in seconds."""
        ...

    def stream(self, request: WriteRequest, deadline: float) -> AsyncIterator[str | Written]:
        """The pieces of the text as they come, and last the whole. Whoever closes it early ends the writing."""
        ...


def routed(routing: Routing, text: str, confidence: float | None) -> Answer:
    """The answer with its route. Without a confidence a person reads it."""
    if confidence is None:
        return Answer(text, 0.0, HUMAN)
    return Answer(text, confidence, routing.routes([text], np.array([confidence]))[0])


def before_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """The text up to the first of the words that stop it, and whether there was one."""
    places = [place for place in (text.find(word) for word in stop) if place >= 0]
    return (text[: min(places)], True) if places else (text, False)


def safe_length(text: str, stop: Sequence[str]) -> int:
    """How much of a text that still grows may go out: not half a letter, nor what may become a word that stops it."""
    length = len(text.rstrip("\N{REPLACEMENT CHARACTER}"))
    for word in stop:
        longest = min(len(word) - 1, length)
        overlap = next((size for size in range(longest, 0, -1) if text[:length].endswith(word[:size])), 0)
        length = min(length, len(text[:length]) - overlap)
    return length
