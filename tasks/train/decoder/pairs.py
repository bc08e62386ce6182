"""Pairs of answers as token ids: rendered, cut to length, and mismatched for KTO."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from retune.config.generation import PreferTrain
from retune.errors import Refused
from retune.models import chat_template
from retune.models.chat_template import TokenizedExample


@dataclass(frozen=True)
class Pairs:
    """Pairs of one or both splits, and how likely the reference holds their answers."""

    rows: list[TokenizedExample]  # chosen, rejected, chosen, rejected ...
    others: list[TokenizedExample]  # KTO: each prompt under the answer to another one; else none
    reference: torch.Tensor  # [rows], log-probability
    others_reference: torch.Tensor  # [others]

    def __len__(self) -> int:
        return len(self.rows) // 2

    def part(self, first: int, last: int) -> "Pairs":
        """The pairs from `first` up to but not including `last`."""
        rows, others = slice(2 * first, 2 * last), slice(first, last)
        return Pairs(self.rows[rows], self.others[others], self.reference[rows], self.others_reference[others])


def render(frame: pd.DataFrame, tokenizer: Any, config: PreferTrain) -> list[TokenizedExample]:
    """Chosen, rejected, chosen, rejected ...: the pairs of which both answers fit."""
    rows: list[TokenizedExample] = []
    for text, chosen, rejected in zip(frame["text"], frame["label"], frame["rejected"], strict=True):
        pair = [chat_template.render(tokenizer, text, answer) for answer in (chosen, rejected)]
        if pair[0] == pair[1]:
            raise Refused(f"chosen and rejected are the same answer, {chosen[:60]!r}: nothing can be learned from it")
        excess = max(len(row.tokens) for row in pair) - config.max_tokens
        if excess <= 0:
            rows += pair
        elif config.too_long == "cut_prompt" and excess < pair[0].prompt:
            rows += [TokenizedExample(row.tokens[excess:], row.prompt - excess) for row in pair]
    if not rows:
        raise Refused(
            f"all {len(frame)} pairs of a split are longer than train.max_tokens, {config.max_tokens}: raise it, or "
            "write train.too_long: cut_prompt"
        )
    return rows


def mismatched(rows: Sequence[TokenizedExample], max_tokens: int, seed: int) -> list[TokenizedExample]:
    """Each pair's prompt under the chosen answer of another pair: along one circle through all, drawn by the seed."""
    chosen = rows[::2]
    circle = list(range(len(chosen)))
    random.Random(seed).shuffle(circle)
    following = dict(zip(circle, circle[1:] + circle[:1], strict=True))
    mismatches = []
    for number, row in enumerate(chosen):
        other = chosen[following[number]]
        answer = other.tokens[other.prompt :]
        prompt = row.tokens[: row.prompt][-(max_tokens - len(answer)) :]
        mismatches.append(TokenizedExample(prompt + answer, len(prompt)))
    return mismatches
