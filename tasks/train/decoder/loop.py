"""The optimisation of a model that writes: AdamW over steps of packed batches, the best epoch kept, all repeatable.

As in `tasks.train.loop`, the randomness of a step depends on the seed and on numbers alone, here those of its batches,
so a run that goes on from a checkpoint reaches the same bits, and one that is spread over processes the same sums.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, Protocol

import torch
from torch import nn

from retune.models.packing import pack_first_fit
from tasks.train.checkpoint import Checkpoints, Tensors
from tasks.train.distributed import collectives
from tasks.train.encoder.loop import (
    TOLD_EVERY,
    OnProgress,
    TrainingHistory,
    load_parameters,
    log_step,
    rate_factor,
    restore_state,
    save_state,
)

Step = list[list[int]]  # the batches of one step: the numbers of their rows


class LoopConfig(Protocol):
    """What this needs of a params section."""

    @property
    def seed(self) -> int: ...
    @property
    def batch_tokens(self) -> int: ...
    @property
    def accumulate(self) -> int: ...
    @property
    def schedule(self) -> Literal["linear", "cosine", "constant"]: ...
    @property
    def warmup_share(self) -> float: ...
    @property
    def max_grad_norm(self) -> float: ...
    @property
    def patience(self) -> int: ...
    @property
    def checkpoint_seconds(self) -> float: ...


@dataclass(frozen=True)
class Objective:
    """What is learned, and how that is done and seen."""

    plan: list[list[Step]]  # the steps of each epoch
    learn: Callable[[Step, int], dict[str, torch.Tensor]]  # add what this process has of a step's gradients, from its
    # number; tells the whole step's loss
    validate: Callable[[], dict[str, float]] | None  # tells val_loss


def plan(lengths: Sequence[int], epochs: int, pace: LoopConfig) -> list[list[Step]]:
    """Every row once an epoch, in batches of `batch_tokens` at most. The seed alone decides the order."""
    made = []
    for epoch in range(epochs):
        generator = torch.Generator().manual_seed(pace.seed + epoch)
        batches = pack_first_fit(lengths, pace.batch_tokens, torch.randperm(len(lengths), generator=generator).tolist())
        order = torch.randperm(len(batches), generator=generator).tolist()  # else the least filled would come last
        shuffled = [batches[number] for number in order]
        made.append([shuffled[at : at + pace.accumulate] for at in range(0, len(shuffled), pace.accumulate)])
    return made


def seed_batch(pace: LoopConfig, step: int, number: int) -> None:
    """Dropout and noise of a batch, wherever and after whatever it is computed."""
    torch.manual_seed(pace.seed * 1_000_003 + step * pace.accumulate + number)


def train_loop(
    parameters: dict[str, nn.Parameter],
    learning_rate: float,
    weight_decay: float,
    lesson: Objective,
    pace: LoopConfig,
    checkpoints: Checkpoints,
    on_progress: OnProgress,
) -> TrainingHistory:
    """Train `parameters` in place. Where there is something to validate on, the epoch of the lowest loss is kept, and
    training stops after `pace.patience` epochs without a lower one; otherwise the last is kept.
    """
    optimizer = _optimizer(parameters, learning_rate, weight_decay)
    steps = [step for epoch in lesson.plan for step in epoch]
    ends = {step: number for number, step in enumerate(accumulate(map(len, lesson.plan)), 1)}
    total, at = len(steps), 0
    curve, best = TrainingHistory(best_score=-math.inf), Tensors()

    in_parts = collectives.is_sharded(parameters.values())
    device = next(iter(parameters.values())).device
    found = collectives.newest(checkpoints, in_parts, device)
    if found:
        curve, best, at = restore_state(*found, parameters, optimizer)
        print(f"going on from the checkpoint of step {at} of {total}", flush=True)

    saved = time.monotonic()
    while at < total and not (lesson.validate and ends.get(at, 0) - curve.best_epoch >= pace.patience):
        rate = learning_rate * rate_factor(at, total, pace.warmup_share, pace.schedule)
        for group in optimizer.param_groups:
            group["lr"] = rate
        seen = lesson.learn(steps[at], at)
        collectives.all_reduce_gradients(parameters.values())
        collectives.clip(parameters.values(), pace.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        at += 1
        epoch = ends.get(at)
        if at % TOLD_EVERY == 0 or at in (1, total):
            told = {name: float(value) for name, value in seen.items()}
            log_step(curve, on_progress, at, total, epoch=_passed(at, lesson.plan), learning_rate=rate, **told)
        if epoch and lesson.validate:
            scores = lesson.validate()
            log_step(curve, on_progress, at, total, epoch=float(epoch), **scores)
            if -scores["val_loss"] > curve.best_score:
                curve.best_score, curve.best_epoch = -scores["val_loss"], epoch
                best = {name: collectives.local(value).detach().cpu().clone() for name, value in parameters.items()}
        due = time.monotonic() - saved >= pace.checkpoint_seconds
        if epoch or (collectives.broadcast_flag(due, device) if in_parts else due):
            if in_parts or not collectives.rank():
                save_state(checkpoints, at, parameters, optimizer, best, curve)
            saved = time.monotonic()

    if best:
        load_parameters(parameters, best)
    return curve


def _passed(at: int, plan: list[list[Step]]) -> float:
    """Epochs, with the share of the one that is on."""
    for number, steps in enumerate(plan):
        if at <= len(steps):
            return number + at / len(steps)
        at -= len(steps)
    return float(len(plan))


def _optimizer(parameters: dict[str, nn.Parameter], rate: float, weight_decay: float) -> torch.optim.AdamW:
    """Weight decay on matrices only."""
    groups: dict[bool, list[nn.Parameter]] = {}
    for parameter in parameters.values():
        groups.setdefault(parameter.ndim > 1, []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": members, "lr": rate, "weight_decay": weight_decay if is_matrix else 0.0}
            for is_matrix, members in groups.items()
        ],
        fused=True,
    )
