"""What a model that writes may be asked, and what it gives: a text, whole or in pieces, with its confidence and route.

A `Prompt` is a text that says more of its answer, and goes the way of any text: through the router, to whichever arm
answers. A version that writes gives a `Written` for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from retune.models.routing import HUMAN, Routing
from retune.serving.answers import Answer, ServedVersion

OnPiece = Callable[[ServedVersion, str], None]  # who writes, and what comes next of the text


class Prompt(str):
    """A prompt, plain or as messages: JSON, as a row stores them. A plain `str` asks for what these defaults say."""

    max_tokens: int | None  # None, and whatever is more: as many as the longest answer the version learned from
    stop: tuple[str, ...]  # the answer ends before the first of these
    on_piece: OnPiece | None  # is called on the event loop, as the text comes; None: the whole is enough

    def __new__(
        cls,
        text: str,
        max_tokens: int | None = None,
        stop: tuple[str, ...] = (),
        on_piece: OnPiece | None = None,
    ) -> Self:
        prompt = super().__new__(cls, text)
        prompt.max_tokens, prompt.stop, prompt.on_piece = max_tokens, stop, on_piece
        return prompt


def prompt_of(text: str) -> Prompt:
    return text if isinstance(text, Prompt) else Prompt(text)


@dataclass(frozen=True, kw_only=True)
class Written(Answer):
    """An answer whose label is the text that a model wrote."""

    finish: str  # stop | length
    prompt_tokens: int
    completion_tokens: int
    cut_tokens: int  # of the prompt's beginning, which the version did not read: it was too long


def route(routing: Routing, text: str, confidence: float | None) -> str:
    """auto or human. Without a confidence a person reads it."""
    return HUMAN if confidence is None else routing.routes([text], np.array([confidence]))[0]


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
