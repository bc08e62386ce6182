"""In which steps a decoder learns its rows: packed batches in an order that the seed alone decides."""

from collections.abc import Sequence
from typing import Protocol

import torch

from retune.models.packing import pack_first_fit
from tasks.train.loop import Step


class BatchConfig(Protocol):
    """What decides the batches of a train section."""

    @property
    def seed(self) -> int: ...
    @property
    def batch_tokens(self) -> int: ...
    @property
    def accumulate(self) -> int: ...


def plan_steps(lengths: Sequence[int], epochs: int, config: BatchConfig) -> list[list[Step]]:
    """The steps of each epoch: every row once an epoch, in batches of at most `batch_tokens` tokens.

    lengths: of the rows, in tokens.
    """
    plan = []
    for epoch in range(epochs):
        generator = torch.Generator().manual_seed(config.seed + epoch)
        order = torch.randperm(len(lengths), generator=generator).tolist()
        batches = pack_first_fit(lengths, config.batch_tokens, order)
        shuffle = torch.randperm(len(batches), generator=generator).tolist()  # else the least filled would come last
        shuffled = [batches[number] for number in shuffle]
        plan.append([shuffled[i : i + config.accumulate] for i in range(0, len(shuffled), config.accumulate)])
    return plan


def seed_batch(config: BatchConfig, step: int, number: int) -> None:
    """Seed dropout and noise of batch `number` of a step, wherever and after whatever it is computed."""
    torch.manual_seed(config.seed * 1_000_003 + step * config.accumulate + number)
