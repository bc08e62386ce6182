"""The optimisation itself: AdamW over batches of like length, the best epoch kept, every step repeatable.

The randomness of a step depends on the seed and the step's number alone, so a run that goes on from a
checkpoint needs no saved generator to reach the same bits.
"""

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import nn

from retune.config.classification import Train
from retune.evaluation import statistics
from retune.models import classifier
from tasks.train.checkpoint import Checkpoints, Tensors
from tasks.train.distributed import collectives

POOL = 50  # batches whose rows are sorted by length together: little padding, much shuffling
TOLD_EVERY = 10  # steps between two lines of progress

OnProgress = Callable[..., None]


@dataclass(frozen=True)
class Rows:
    """One side, ready for the network: token ids and label numbers."""

    tokens: list[list[int]]
    truth: list[int]


@dataclass
class TrainingHistory:
    """What is known of a run so far; it travels in the checkpoint."""

    points: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float = -1.0
    resumed_from: int = 0

    @property
    def steps(self) -> int:
        return int(self.points[-1]["step"]) if self.points else 0

    def after(self, first: Self) -> Self:
        """The same, as what follows on an earlier round: one curve shows both."""
        self.points = first.points + [{**point, "step": first.steps + point["step"]} for point in self.points]
        return self


def prepare(seed: int, device: str, deterministic: bool = True) -> torch.device:
    """Every sum in one order, from here on, unless told otherwise; returns the device to train on."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS may sum in another order
    torch.use_deterministic_algorithms(deterministic)
    torch.manual_seed(seed)
    return classifier.pick_device(device)


def fine_tune(
    encoder: classifier.Encoder,
    head: nn.Linear,
    train: Rows,
    val: Rows | None,
    pad: int,
    weights: torch.Tensor | None,
    epochs: int,
    params: Train,
    checkpoints: Checkpoints,
    on_progress: OnProgress,
) -> TrainingHistory:
    """Train `encoder` and `head` in place. With `val`, the epoch of the best macro-F1 is kept, and training
    stops after `params.patience` epochs without a better one; without it, the last epoch is kept.

    weights: [labels], the weight of each label's rows in the loss, or None.
    """
    parameters = dict(classifier.trainable({"encoder": encoder, "head": head}))
    optimizer = _optimizer(parameters, params)
    steps_an_epoch = math.ceil(len(train.truth) / (params.batch_size * params.accumulate))
    total = steps_an_epoch * epochs
    usual_rates = [group["lr"] for group in optimizer.param_groups]
    curve, step = TrainingHistory(), 0
    best: Tensors = {}

    found = checkpoints.newest()
    if found:
        curve, best, step = restore_state(*found, parameters, optimizer)
        print(f"going on from the checkpoint of step {step} of {total}", flush=True)

    device, saved = head.weight.device, time.monotonic()
    while step < total and not _out_of_patience(curve, step, steps_an_epoch, params.patience, val):
        epoch, within = divmod(step, steps_an_epoch)
        plan = batches(train.tokens, params.batch_size, params.seed + epoch)
        for group in _chunks(plan, params.accumulate)[within:]:
            factor = rate_factor(step, total, params.warmup_share, params.schedule)
            for parameter_group, rate in zip(optimizer.param_groups, usual_rates, strict=True):
                parameter_group["lr"] = rate * factor
            torch.manual_seed(params.seed * 1_000_003 + step)
            loss = _step(encoder, head, train, group, pad, weights, device, params)
            nn.utils.clip_grad_norm_(parameters.values(), params.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            if step % TOLD_EVERY == 0 or step == total or step == 1:
                point = {"train_loss": loss, "learning_rate": optimizer.param_groups[0]["lr"]}
                log_step(curve, on_progress, step, total, epoch=step / steps_an_epoch, **point)
            if time.monotonic() - saved >= params.checkpoint_seconds and step % steps_an_epoch:
                save_state(checkpoints, step, parameters, optimizer, best, curve)
                saved = time.monotonic()
        if val:
            seen = _validate(encoder, head, val, pad, params)
            log_step(curve, on_progress, step, total, epoch=step / steps_an_epoch, **seen)
            if seen["val_macro_f1"] > curve.best_score:
                curve.best_score, curve.best_epoch = seen["val_macro_f1"], epoch + 1
                best = {name: value.detach().cpu().clone() for name, value in parameters.items()}
        save_state(checkpoints, step, parameters, optimizer, best, curve)
        saved = time.monotonic()

    if best:
        load_parameters(parameters, best)
    return curve


def batches(tokens: Sequence[Sequence[int]], size: int, seed: int) -> list[list[int]]:
    """Row numbers in batches of `size`: shuffled, then sorted by length within pools, then shuffled again.

    Every row comes once. The seed alone decides the order.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(tokens), generator=generator).tolist()
    made = []
    for pool in _chunks(order, POOL * size):
        made += _chunks(sorted(pool, key=lambda row: len(tokens[row])), size)
    return [made[i] for i in torch.randperm(len(made), generator=generator).tolist()]


def rate_factor(step: int, total: int, warmup_share: float, schedule: str) -> float:
    """What the learning rate of `step` (from 0) is multiplied by: a linear warm-up, then the schedule."""
    warmup = round(total * warmup_share)
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    left = (total - step) / max(1, total - warmup)
    return left if schedule == "linear" else 0.5 * (1 - math.cos(math.pi * left))


def _chunks(items: list[Any], size: int) -> list[list[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _optimizer(parameters: dict[str, nn.Parameter], params: Train) -> torch.optim.AdamW:
    """Weight decay on matrices only; the head learns at its own rate."""
    rate = params.lora.learning_rate if params.method == "lora" else params.full.learning_rate
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        groups.setdefault((name.startswith("head."), parameter.ndim > 1), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": members,
                "lr": params.head_learning_rate if in_head else rate,
                "weight_decay": params.weight_decay if is_matrix else 0.0,
            }
            for (in_head, is_matrix), members in groups.items()
        ],
        fused=True,
    )


def _step(
    encoder: classifier.Encoder,
    head: nn.Linear,
    train: Rows,
    group: list[list[int]],
    pad: int,
    weights: torch.Tensor | None,
    device: torch.device,
    params: Train,
) -> float:
    """Gradients of one step over its batches: the mean over all their rows, however they are cut."""
    encoder.train()
    truths = [torch.tensor([train.truth[row] for row in rows], device=device) for rows in group]
    whole = sum(float(len(truth) if weights is None else weights[truth.cpu()].sum()) for truth in truths)
    on_device = None if weights is None else weights.to(device)
    loss = 0.0
    for rows, truth in zip(group, truths, strict=True):
        with classifier.autocast(device, params.precision):
            vectors = encoder(*classifier.batch([train.tokens[row] for row in rows], pad, device))
        part = nn.functional.cross_entropy(head(vectors), truth, weight=on_device, reduction="sum") / whole
        part.backward()
        loss += part.item()
    return loss


@torch.no_grad()
def _validate(encoder: classifier.Encoder, head: nn.Linear, val: Rows, pad: int, params: Train) -> dict[str, float]:
    encoder.eval()
    device = head.weight.device
    order = sorted(range(len(val.tokens)), key=lambda row: (len(val.tokens[row]), row))
    logits = torch.empty((len(order), head.out_features))
    for rows in _chunks(order, 2 * params.batch_size):
        with classifier.autocast(device, params.precision):
            vectors = encoder(*classifier.batch([val.tokens[row] for row in rows], pad, device))
        logits[rows] = head(vectors).float().cpu()
    truth = torch.tensor(val.truth)
    predicted = logits.argmax(-1).numpy()
    return {
        "val_loss": nn.functional.cross_entropy(logits, truth).item(),
        "val_accuracy": statistics.accuracy(truth.numpy(), predicted),
        "val_macro_f1": statistics.macro_f1(truth.numpy(), predicted),
    }


def log_step(curve: TrainingHistory, on_progress: OnProgress, step: int, total: int, **values: float) -> None:
    curve.points.append({"step": step, **values})
    on_progress(step, total, **values)


def refit(chosen: TrainingHistory, on_progress: OnProgress) -> OnProgress:
    """How the second round, on train + val, tells its progress: as what follows on the round that chose the epoch."""
    print("refit on train + val, for as many epochs as were best", flush=True)

    def later(step: int, total: int, **values: float) -> None:
        on_progress(chosen.steps + step, chosen.steps + total, **values)

    return later


def _out_of_patience(curve: TrainingHistory, step: int, steps_an_epoch: int, patience: int, val: Rows | None) -> bool:
    """Asked between epochs only: `step` stands in the middle of one after a resume, and then it goes on."""
    epoch, within = divmod(step, steps_an_epoch)
    return val is not None and within == 0 and epoch - curve.best_epoch >= patience and epoch > 0


def save_state(
    checkpoints: Checkpoints,
    step: int,
    parameters: dict[str, nn.Parameter],
    optimizer: torch.optim.AdamW,
    best: Tensors,
    curve: TrainingHistory,
) -> None:
    tensors = {f"now.{name}": collectives.local(value).detach().cpu() for name, value in parameters.items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for name, parameter in parameters.items():
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}.{name}"] = collectives.local(value).detach().cpu()
    checkpoints.save(step, tensors, {"step": step, "curve": curve.__dict__})


def restore_state(
    tensors: Tensors, state: dict[str, Any], parameters: dict[str, nn.Parameter], optimizer: torch.optim.AdamW
) -> tuple[TrainingHistory, Tensors, int]:
    def part(prefix: str) -> Tensors:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    load_parameters(parameters, part("now."))
    keys = {name.split(".", 1)[0] for name in tensors} - {"now", "best"}
    for key in keys:
        for name, value in part(f"{key}.").items():
            parameter = parameters[name]
            # AdamW counts its steps on the CPU unless the parameter's own device does (fused on CUDA).
            optimizer.state[parameter][key] = collectives.like(value, parameter)
    curve = TrainingHistory(**{**state["curve"], "resumed_from": state["step"]})
    return curve, part("best."), state["step"]


@torch.no_grad()
def load_parameters(parameters: dict[str, nn.Parameter], values: Tensors) -> None:
    for name, parameter in parameters.items():
        collectives.local(parameter).copy_(values[name])
