"""Judged answers as token ids: rendered, cut to length, and mismatched for KTO.

Mostly two answers to one prompt, the chosen one and the rejected. KTO learns from a single answer too, which people
liked or disliked.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import pandas as pd
import torch

from retune.config.generation import PreferTrain
from retune.data.messages import NO_ANSWER
from retune.errors import Refused
from retune.models import chat_template
from retune.models.chat_template import TokenizedExample


@dataclass(frozen=True)
class Judged:
    """The chosen and the rejected answer to a prompt, or one answer."""

    rows: tuple[TokenizedExample, ...]
    liked: tuple[bool, ...]  # of each answer: chosen, or liked


@dataclass(frozen=True)
class Pairs:
    """What was judged in one or both splits, and how likely the reference holds the answers."""

    judged: list[Judged]
    others: list[TokenizedExample]  # KTO: each prompt under the answer to another one; else none
    reference: torch.Tensor  # [rows], log-probability
    others_reference: torch.Tensor  # [others]

    def __len__(self) -> int:
        return len(self.judged)

    @cached_property
    def rows(self) -> list[TokenizedExample]:
        """Chosen, rejected, chosen, rejected ..., or single answers among them."""
        return rows_of(self.judged)

    @cached_property
    def liked(self) -> torch.Tensor:
        """[rows] of bool"""
        return torch.tensor([liked for each in self.judged for liked in each.liked], dtype=torch.bool)

    @cached_property
    def _starts(self) -> list[int]:
        """The number of the first row of each, and of all rows."""
        return [0, *accumulate(len(each.rows) for each in self.judged)]

    def row_numbers(self, numbers: Sequence[int]) -> list[int]:
        """The numbers of the rows of what has these numbers."""
        return [row for number in numbers for row in range(self._starts[number], self._starts[number + 1])]

    def part(self, first: int, last: int) -> "Pairs":
        """What was judged from `first` up to but not including `last`."""
        rows, others = slice(self._starts[first], self._starts[last]), slice(first, last)
        return Pairs(self.judged[others], self.others[others], self.reference[rows], self.others_reference[others])


def rows_of(judged: Sequence[Judged]) -> list[TokenizedExample]:
    return [row for each in judged for row in each.rows]


def render(frame: pd.DataFrame, tokenizer: Any, config: PreferTrain) -> list[Judged]:
    """The rows of which every answer fits. Raises Refused for a row with one answer where two are compared."""
    judged: list[Judged] = []
    for text, chosen, rejected in zip(frame["text"], frame["label"], frame["rejected"], strict=True):
        answers = [(answer, liked) for answer, liked in ((chosen, True), (rejected, False)) if answer != NO_ANSWER]
        if config.method == "dpo" and len(answers) < 2:
            raise Refused("a row has one answer, and train.method: dpo compares two: set train.method to kto")
        rows = tuple(chat_template.render(tokenizer, text, answer) for answer, _ in answers)
        if len(set(map(str, rows))) < len(rows):
            raise Refused(f"chosen and rejected are the same answer, {chosen[:60]!r}: nothing can be learned from it")
        excess = max(len(row.tokens) for row in rows) - config.max_tokens
        if excess > 0 and (config.too_long == "drop" or excess >= rows[0].spans[0][0]):
            continue
        judged.append(Judged(tuple(row.cut(max(excess, 0)) for row in rows), tuple(liked for _, liked in answers)))
    if not judged:
        raise Refused(
            f"all {len(frame)} pairs of a split are longer than train.max_tokens, {config.max_tokens}: raise it, or "
            "write train.too_long: cut_prompt"
        )
    return judged


def mismatched(judged: Sequence[Judged], max_tokens: int, seed: int) -> list[TokenizedExample]:
    """Each prompt under the first answer to another one: along one circle through all, drawn by the seed."""
    chosen = [each.rows[0] for each in judged]
    circle = list(range(len(chosen)))
    random.Random(seed).shuffle(circle)
    following = dict(zip(circle, circle[1:] + circle[:1], strict=True))
    mismatches = []
    for number, row in enumerate(chosen):
        other = chosen[following[number]]
        begins = other.spans[0][0]
        prompt = row.tokens[: row.spans[0][0]][-(max_tokens - len(other.tokens) + begins) :]
        mismatches.append(other.cut(begins).after(prompt))
    return mismatches
