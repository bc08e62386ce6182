"""The training loop of every model: AdamW, the best epoch, early stopping, checkpoints; every step repeatable.

What is learned is an `Objective`. The randomness of a step depends on the seed and on numbers alone (of the step, of
its batches), so a run that resumes from a checkpoint needs no saved generator to reach the same bits, and one that is
spread over processes computes the same sums.
"""

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Literal, Protocol, Self

import torch
from torch import nn

from tasks.train.checkpoint import Checkpoints, Tensors
from tasks.train.context import OnProgress
from tasks.train.distributed import collectives
from tasks.train.divergence import StepWatch

LOG_EVERY = 10  # steps
Step = list[list[int]]  # the batches of one step: the numbers of their rows


class LoopConfig(Protocol):
    """What the loop needs of a train section."""

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
    """What is learned, in which steps, and how well."""

    plan: list[list[Step]]  # the steps of each epoch
    backward: Callable[[Step, int], Mapping[str, torch.Tensor | float]]  # adds this process's part of the gradients of
    # a step, given its batches and its number from 0; returns train_loss and more, of the whole step
    validate: Callable[[], dict[str, float]] | None  # None: there is nothing to validate on
    score: Callable[[dict[str, float]], float]  # of what `validate` returns; the highest is the best
    learning_rate: Callable[[str], float]  # of a parameter, by its name, before warm-up and schedule
    rate_names: tuple[str, ...]  # the parameters that these rates come from
    weight_decay: float  # of matrices


@dataclass
class TrainingHistory:
    """What is known of a run so far; it is part of a checkpoint."""

    points: list[dict[str, float]] = field(default_factory=list)  # the learning curve
    best_epoch: int = 0  # from 1; 0: none was validated
    best_score: float = -math.inf
    resumed_from: int = 0  # the step

    @property
    def steps(self) -> int:
        return int(self.points[-1]["step"]) if self.points else 0

    def after(self, first: Self) -> Self:
        """This refit as what follows on the round that chose the epoch: one curve shows both."""
        self.points = first.points + [{**point, "step": first.steps + point["step"]} for point in self.points]
        self.best_epoch = first.best_epoch
        return self


def train_loop(
    parameters: dict[str, nn.Parameter],
    objective: Objective,
    config: LoopConfig,
    checkpoints: Checkpoints,
    on_progress: OnProgress,
) -> TrainingHistory:
    """Train `parameters` in place. Where there is something to validate on, the epoch of the best score is kept, and
    training stops after `config.patience` epochs without a better one; otherwise the last epoch is kept.

    Raises Diverged where loss, gradients or scores are not finite; no checkpoint holds such a step.
    """
    optimizer = _optimizer(parameters, objective)
    base_rates = [group["lr"] for group in optimizer.param_groups]
    steps = [step for epoch in objective.plan for step in epoch]
    epoch_ends = {step: number for number, step in enumerate(accumulate(map(len, objective.plan)), 1)}
    total, step = len(steps), 0
    history, best = TrainingHistory(), Tensors()

    sharded = collectives.is_sharded(parameters.values())
    device = next(iter(parameters.values())).device
    if checkpoint := collectives.newest(checkpoints, sharded, device):
        history, best, step = restore_state(*checkpoint, parameters, optimizer)
        print(f"going on from the checkpoint of step {step} of {total}", flush=True)

    watch = StepWatch(objective.rate_names, total)
    saved = time.monotonic()
    while step < total and not _out_of_patience(objective, history, epoch_ends.get(step), config.patience):
        factor = rate_factor(step, total, config.warmup_share, config.schedule)
        for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
            group["lr"] = rate * factor
        losses, norm = _update(parameters.values(), optimizer, objective, steps[step], step, config.max_grad_norm)
        step += 1
        watch.add(step, base_rates[0] * factor, losses, norm)
        epoch = epoch_ends.get(step)
        if epoch or step % LOG_EVERY == 0 or step == 1:
            watch.check()
        if step % LOG_EVERY == 0 or step in (1, total):
            values = {"learning_rate": base_rates[0] * factor, **{name: float(loss) for name, loss in losses.items()}}
            log_step(history, on_progress, step, total, epoch=_epochs(step, objective.plan), **values)
        if epoch and objective.validate:
            scores = objective.validate()
            watch.require_finite(step, base_rates[0] * factor, scores)
            log_step(history, on_progress, step, total, epoch=float(epoch), **scores)
            if objective.score(scores) > history.best_score:
                history.best_score, history.best_epoch = objective.score(scores), epoch
                best = {name: collectives.local(value).detach().cpu().clone() for name, value in parameters.items()}
        due = time.monotonic() - saved >= config.checkpoint_seconds
        if epoch or (collectives.broadcast_flag(due, device) if sharded else due):
            watch.check()  # before the end of an epoch time may call for a checkpoint
            if sharded or not collectives.rank():
                save_state(checkpoints, step, parameters, optimizer, best, history)
            saved = time.monotonic()

    if best:
        load_parameters(parameters, best)
    return history


def _update(
    parameters: Collection[nn.Parameter],
    optimizer: torch.optim.AdamW,
    objective: Objective,
    batches: Step,
    number: int,
    max_grad_norm: float,
) -> tuple[Mapping[str, torch.Tensor | float], torch.Tensor]:
    """One step, which has `number` from 0; returns its losses and the norm of its gradients."""
    losses = objective.backward(batches, number)
    collectives.all_reduce_gradients(parameters)
    norm = collectives.clip(parameters, max_grad_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return losses, norm


def _out_of_patience(objective: Objective, history: TrainingHistory, epoch: int | None, patience: int) -> bool:
    """`epoch`: the one that ends with this step. In the middle of one, as after a resume, training goes on."""
    return bool(objective.validate and epoch and epoch - history.best_epoch >= patience)


def _epochs(step: int, plan: list[list[Step]]) -> float:
    """How many epochs `step` steps are, with the share of the one that is not complete."""
    for number, steps in enumerate(plan):
        if step <= len(steps):
            return number + step / len(steps)
        step -= len(steps)
    return float(len(plan))


def rate_factor(step: int, total: int, warmup_share: float, schedule: str) -> float:
    """What the learning rate of `step` (from 0) is multiplied by: a linear warm-up, then the schedule."""
    warmup = round(total * warmup_share)
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    remaining = (total - step) / max(1, total - warmup)
    return remaining if schedule == "linear" else 0.5 * (1 - math.cos(math.pi * remaining))


def _optimizer(parameters: dict[str, nn.Parameter], objective: Objective) -> torch.optim.AdamW:
    """Weight decay on matrices only; the groups in the order of their first parameters."""
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        groups.setdefault((objective.learning_rate(name), parameter.ndim > 1), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": members, "lr": rate, "weight_decay": objective.weight_decay if is_matrix else 0.0}
            for (rate, is_matrix), members in groups.items()
        ],
        fused=True,
    )


def log_step(history: TrainingHistory, on_progress: OnProgress, step: int, total: int, **values: float) -> None:
    history.points.append({"step": step, **values})
    on_progress(step, total, **values)


def save_state(
    checkpoints: Checkpoints,
    step: int,
    parameters: dict[str, nn.Parameter],
    optimizer: torch.optim.AdamW,
    best: Tensors,
    history: TrainingHistory,
) -> None:
    tensors = {f"now.{name}": collectives.local(value).detach().cpu() for name, value in parameters.items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for name, parameter in parameters.items():
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}.{name}"] = collectives.local(value).detach().cpu()
    checkpoints.save(step, tensors, {"step": step, "curve": history.__dict__})


def restore_state(
    tensors: Tensors, state: dict[str, Any], parameters: dict[str, nn.Parameter], optimizer: torch.optim.AdamW
) -> tuple[TrainingHistory, Tensors, int]:
    """Load parameters and optimizer in place; returns the history, the best parameters and the step."""

    def part(prefix: str) -> Tensors:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    load_parameters(parameters, part("now."))
    keys = {name.split(".", 1)[0] for name in tensors} - {"now", "best"}
    for key in keys:
        for name, value in part(f"{key}.").items():
            parameter = parameters[name]
            # AdamW counts its steps on the CPU unless the parameter's own device does (fused on CUDA).
            optimizer.state[parameter][key] = collectives.like(value, parameter)
    history = TrainingHistory(**{**state["curve"], "resumed_from": state["step"]})
    return history, part("best."), state["step"]


@torch.no_grad()
def load_parameters(parameters: dict[str, nn.Parameter], values: Tensors) -> None:
    for name, parameter in parameters.items():
        collectives.local(parameter).copy_(values[name])
