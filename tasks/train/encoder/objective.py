"""What a classifier learns: the cross-entropy of its rows, in batches of texts of like length."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from retune.config.classification import Train
from retune.evaluation import statistics
from retune.models import classifier
from tasks.train.checkpoint import Checkpoints
from tasks.train.context import TrainContext
from tasks.train.loop import Objective, Step, TrainingHistory, train_loop

POOL = 50  # batches whose rows are sorted by length together: little padding, much shuffling


@dataclass(frozen=True)
class Rows:
    """Rows, ready for the network."""

    tokens: list[list[int]]
    label_ids: list[int]


@dataclass(frozen=True)
class Round:
    """What one round learns from, and for how long."""

    train: Rows
    val: Rows | None  # None: nothing chooses the epoch, and the last one is kept
    epochs: int
    pad_id: int
    label_weights: torch.Tensor | None  # [labels], the weight of each label's rows in the loss; None: all alike


def fine_tune(
    encoder: classifier.Encoder, head: nn.Linear, data: Round, context: TrainContext[Train]
) -> TrainingHistory:
    """Train `encoder` and `head` in place. With `data.val`, the epoch of the best macro-F1 is kept."""
    parameters = dict(classifier.trainable({"encoder": encoder, "head": head}))
    objective = make_objective(encoder, head, data, context.config)
    return train_loop(parameters, objective, context.config, Checkpoints(context.work), context.on_progress)


def make_objective(encoder: classifier.Encoder, head: nn.Linear, data: Round, config: Train) -> Objective:
    """The head learns at its own rate, all weights from the mean loss over the rows of a step."""
    val = data.val
    rate = config.lora.learning_rate if config.method == "lora" else config.full.learning_rate

    def backward(step: Step, number: int) -> dict[str, float]:
        torch.manual_seed(config.seed * 1_000_003 + number)
        return {"train_loss": _backward(encoder, head, data, step, config.precision)}

    return Objective(
        plan=[
            _chunks(batches(data.train.tokens, config.batch_size, config.seed + epoch), config.accumulate)
            for epoch in range(data.epochs)
        ],
        backward=backward,
        validate=(lambda: _validate(encoder, head, val, data.pad_id, config)) if val else None,
        score=lambda scores: scores["val_macro_f1"],
        learning_rate=lambda name: config.head_learning_rate if name.startswith("head.") else rate,
        rate_names=(f"train.{config.method}.learning_rate", "train.head_learning_rate"),
        weight_decay=config.weight_decay,
    )


def batches(tokens: Sequence[Sequence[int]], size: int, seed: int) -> list[list[int]]:
    """Row numbers in batches of `size`: shuffled, then sorted by length within pools, then shuffled again.

    Every row comes once. The seed alone decides the order.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(tokens), generator=generator).tolist()
    groups = []
    for pool in _chunks(order, POOL * size):
        groups += _chunks(sorted(pool, key=lambda row: len(tokens[row])), size)
    return [groups[number] for number in torch.randperm(len(groups), generator=generator).tolist()]


def _chunks(items: list[Any], size: int) -> list[list[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _backward(encoder: classifier.Encoder, head: nn.Linear, data: Round, step: Step, precision: str) -> float:
    """Gradients of one step over its batches; returns the mean loss over all their rows, however they are cut."""
    encoder.train()
    device, weights = head.weight.device, data.label_weights
    targets = [torch.tensor([data.train.label_ids[row] for row in rows], device=device) for rows in step]
    total = sum(float(len(each) if weights is None else weights[each.cpu()].sum()) for each in targets)
    device_weights = None if weights is None else weights.to(device)
    step_loss = 0.0
    for rows, target in zip(step, targets, strict=True):
        with classifier.autocast(device, precision):
            vectors = encoder(*classifier.batch([data.train.tokens[row] for row in rows], data.pad_id, device))
        loss = nn.functional.cross_entropy(head(vectors), target, weight=device_weights, reduction="sum") / total
        torch.autograd.backward(loss)
        step_loss += loss.item()
    return step_loss


@torch.no_grad()
def _validate(encoder: classifier.Encoder, head: nn.Linear, val: Rows, pad_id: int, config: Train) -> dict[str, float]:
    encoder.eval()
    device = head.weight.device
    order = sorted(range(len(val.tokens)), key=lambda row: (len(val.tokens[row]), row))
    logits = torch.empty((len(order), head.out_features))
    for rows in _chunks(order, 2 * config.batch_size):
        with classifier.autocast(device, config.precision):
            vectors = encoder(*classifier.batch([val.tokens[row] for row in rows], pad_id, device))
        logits[rows] = head(vectors).float().cpu()
    targets = torch.tensor(val.label_ids)
    predicted = logits.argmax(-1).numpy()
    return {
        "val_loss": nn.functional.cross_entropy(logits, targets).item(),
        "val_accuracy": statistics.accuracy(targets.numpy(), predicted),
        "val_macro_f1": statistics.macro_f1(targets.numpy(), predicted),
    }
