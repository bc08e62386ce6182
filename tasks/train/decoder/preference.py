"""The story of preference training: of two answers to one prompt, make the chosen likelier than the rejected.

It starts from a model that follows instructions and measures itself by it: the reference of DPO (Rafailov et al. 2023)
and KTO (Ethayarajh et al. 2024) is that very version. How likely it holds every answer is asked once, before the first
step, so no second network is kept. An adapter is gone on with; on a whole network a new one learns, and is merged.

Why not TRL's trainers, which know these losses too: they stand on transformers' Trainer, whose resume takes a
checkpoint without its optimizer for a whole one, and they pad, where rows here lie end to end.
"""

import gc
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from retune.config.generation import PreferTrain
from retune.errors import Refused, WrongUse
from retune.models import chat_template, classifier, decoder, packing
from retune.models.chat_template import TokenizedExample
from retune.models.manifest import CausalLMManifest, read_causal_lm
from retune.models.packing import BatchShape, supervised
from retune.preflight import memory_check
from tasks.train.checkpoint import Checkpoints
from tasks.train.decoder import loop, parent_network, sft
from tasks.train.decoder.loop import Objective, Step
from tasks.train.decoder.losses import log_likelihood
from tasks.train.distributed import collectives
from tasks.train.encoder.loop import OnProgress, TrainingHistory, prepare, refit

USUAL_RATES = (1e-6, 2e-4)


@dataclass(frozen=True)
class Pairs:
    """Rows of one or both sides, and how likely the reference holds them."""

    rows: list[TokenizedExample]  # chosen, rejected, chosen, rejected ...
    others: list[TokenizedExample]  # KTO: each prompt under the answer to another one; else none
    reference: torch.Tensor  # [rows], log-probability
    of_others: torch.Tensor  # [others]

    def __len__(self) -> int:
        return len(self.rows) // 2


def fit(
    train: pd.DataFrame, val: pd.DataFrame, params: PreferTrain, start: Path, work: Path, on_progress: OnProgress
) -> tuple[CausalLMManifest, Any, nn.Module, TrainingHistory, dict[str, Any]]:
    """Train on the pairs of `train` from the model in the folder `start`, choose the epoch on those of `val`.

    Writes only below `work`. Returns what model.json will say, the tokenizer, the network, the curve, and a report.
    """
    began = time.monotonic()
    from_card = read_causal_lm(start)
    check(params, from_card)
    warnings = unusual_rate(params)
    for warning in warnings:
        print(f"warning: {warning}", flush=True)
    device = prepare(params.seed, params.device, params.deterministic)
    sft.check_room(params, device, memory_check.find(device.type == "cuda"), from_card.method)
    tokenizer, network = _start(start, from_card, params)
    network = sft.prepare_network(network, params, device)
    sides = [render(frame, tokenizer, params) for frame in (train, val)]
    counts = [len(frame) for frame in (train, val)]
    left_out = sum(counts) - sum(len(side) // 2 for side in sides)
    everything = _measured(network, sides[0] + sides[1], params)
    print(f"asked the reference of {len(everything)} pairs in {time.monotonic() - began:.1f} s on {device}", flush=True)

    first = len(sides[0]) // 2
    train_side, val_side = _taken(everything, 0, first), _taken(everything, first, len(everything))
    curve, learned = (
        _train_once(network, train_side, val_side, params.epochs, params, work / "choose", on_progress),
        first,
    )
    best = curve.best_epoch
    if params.refit:
        learned, chosen, later = len(everything), curve, refit(curve, on_progress)
        del network  # before it is loaded once more: there may be no room for two
        gc.collect()
        network = sft.prepare_network(_start(start, from_card, params)[1], params, device)
        curve = _train_once(network, everything, None, best, params, work / "refit", later).after(chosen)

    network = collectives.gather_weights(network, lambda: _start(start, from_card, params)[1])
    report = {
        "method": params.method,
        "refit": params.refit,
        "best_epoch": best,
        "rows": learned,
        "left_out_rows": left_out,
        "start": {"task": from_card.task, "method": from_card.method},
        **sft.sizes(network),
        "seconds": round(time.monotonic() - began, 1),
        "resumed_from_step": curve.resumed_from,
        **sft.machine(device),
        "warnings": warnings,
    }
    longest = max(supervised(row) for row in everything.rows)
    base = (from_card.base_name, from_card.base_sha256)
    card = CausalLMManifest("prefer", from_card.method, *base, params.max_tokens, longest, from_card.template)
    return card, tokenizer, _finished(network, from_card), curve, report


# ---------------------------------------------------------------- what is asked, before it costs time


def check(params: PreferTrain, start: CausalLMManifest) -> None:
    """Raises WrongUse for params that cannot go together, Refused for a start that cannot be gone on from."""
    if params.batch_tokens < 2 * params.max_tokens:
        raise WrongUse(
            f"train.batch_tokens is {params.batch_tokens}, and a pair may take {2 * params.max_tokens}: raise it, or "
            "lower max_tokens"
        )
    parent_network.check(start, params)
    if params.lora.base_precision == "fp8" and (start.method != "lora" or params.lora.dropout):
        raise WrongUse(
            f"train.lora.base_precision is fp8, with a start of method {start.method} and dropout "
            f"{params.lora.dropout}: only a start of method lora, without dropout, is multiplied in 8 bits; "
            "write train.lora.base_precision: bf16"
        )
    sft.check_strategy(params)


def unusual_rate(params: PreferTrain) -> list[str]:
    rate, (low, high) = params.lora.learning_rate, USUAL_RATES
    if low <= rate <= high:
        return []
    return [f"train.lora.learning_rate is {rate:g}; usual for method {params.method} is {low:g} to {high:g}"]


# ---------------------------------------------------------------- rows


def render(frame: pd.DataFrame, tokenizer: Any, params: PreferTrain) -> list[TokenizedExample]:
    """Chosen, rejected, chosen, rejected ...: the pairs of which both answers fit."""
    rows: list[TokenizedExample] = []
    for text, chosen, rejected in zip(frame["text"], frame["label"], frame["rejected"], strict=True):
        pair = [chat_template.render(tokenizer, text, answer) for answer in (chosen, rejected)]
        if pair[0] == pair[1]:
            raise Refused(f"chosen and rejected are the same answer, {chosen[:60]!r}: nothing can be learned of it")
        over = max(len(row.tokens) for row in pair) - params.max_tokens
        if over <= 0:
            rows += pair
        elif params.too_long == "cut_prompt" and over < pair[0].prompt:
            rows += [TokenizedExample(row.tokens[over:], row.prompt - over) for row in pair]
    if not rows:
        raise Refused(
            f"all {len(frame)} pairs of a side are longer than train.max_tokens, {params.max_tokens}: raise it, or "
            "write train.too_long: cut_prompt"
        )
    return rows


def mismatched(rows: Sequence[TokenizedExample], max_tokens: int, seed: int) -> list[TokenizedExample]:
    """Each pair's prompt under the chosen answer of another pair: along one circle through all, drawn by the seed."""
    chosen = rows[::2]
    circle = list(range(len(chosen)))
    random.Random(seed).shuffle(circle)
    after = dict(zip(circle, circle[1:] + circle[:1], strict=True))
    made = []
    for number, row in enumerate(chosen):
        other = chosen[after[number]]
        answer = other.tokens[other.prompt :]
        prompt = row.tokens[: row.prompt][-(max_tokens - len(answer)) :]
        made.append(TokenizedExample(prompt + answer, len(prompt)))
    return made


def _taken(pairs: Pairs, first: int, last: int) -> Pairs:
    own, other = slice(2 * first, 2 * last), slice(first, last)
    return Pairs(pairs.rows[own], pairs.others[other], pairs.reference[own], pairs.of_others[other])


# ---------------------------------------------------------------- the network


def _start(folder: Path, card: CausalLMManifest, params: PreferTrain) -> tuple[Any, nn.Module]:
    """The version that is started from, ready to learn, and its tokenizer with the template in it."""
    own = params.lora
    tokenizer, network = parent_network.load(folder, card, params)
    if card.method == "full":
        torch.manual_seed(params.seed)
        network = decoder.add_lora(
            network, card.base_name, own.rank, own.alpha, own.dropout, own.rank_stabilised, dora=False
        )
    return tokenizer, network


def _finished(network: Any, card: CausalLMManifest) -> nn.Module:
    return (network.merge_and_unload() if card.method == "full" else network).eval()


def _measured(network: nn.Module, rows: list[TokenizedExample], params: PreferTrain) -> Pairs:
    """The pairs, and how likely the start holds them: asked through the very forward that is trained."""
    others = mismatched(rows, params.max_tokens, params.seed) if params.method == "kto" else []
    found = [_asked(network, part, params) for part in (rows, others)]
    return Pairs(rows, others, *found)


def _asked(network: nn.Module, rows: list[TokenizedExample], params: PreferTrain) -> torch.Tensor:
    if not rows:
        return torch.zeros(0)
    lengths = [len(row.tokens) for row in rows]
    batches = packing.pack_first_fit(lengths, params.batch_tokens, range(len(rows)))
    form = _form(network, lengths, batches, params)
    return _without_learning(network, rows, batches, form, params)


def _form(network: nn.Module, lengths: list[int], batches: list[list[int]], params: PreferTrain) -> BatchShape | None:
    """One shape for all on CUDA, else compiled layers would be compiled time and again."""
    return packing.shape(lengths, batches, params.batch_tokens) if decoder.head(network).is_cuda else None


@torch.no_grad()
def _without_learning(
    network: nn.Module,
    rows: Sequence[TokenizedExample],
    batches: list[list[int]],
    form: BatchShape | None,
    params: PreferTrain,
) -> torch.Tensor:
    """[rows], log-probability, on the CPU; of rows in no batch 0."""
    was_training = network.training
    network.eval()
    found = torch.zeros(len(rows), device=decoder.head(network).device)
    for _, batch, counts in collectives.local_batches(batches):
        each = _likelihoods(network, [rows[row] for row in batch], form, params.precision)
        if counts:
            found[batch] = each
    network.train(was_training)
    return collectives.all_reduce_sum(found).cpu()


def _likelihoods(
    network: nn.Module, rows: Sequence[TokenizedExample], form: BatchShape | None, precision: str
) -> torch.Tensor:
    """[rows], the log-probability of each row's supervised tokens together; gradients go through it."""
    device = decoder.head(network).device
    own = packing.pack(rows, device, form)

    def compute() -> torch.Tensor:
        with decoder.autocast(network, precision):
            return log_likelihood(
                decoder.hidden_states(network, own), decoder.head(network), own.supervised, own.targets
            )

    each = collectives.with_gathered_root(network, compute)
    counts = torch.tensor([supervised(row) for row in rows], device=device)
    owner = torch.arange(len(rows), device=device).repeat_interleave(counts, output_size=len(each))
    return torch.zeros(len(rows), device=device).index_add(0, owner, each)


# ---------------------------------------------------------------- the losses


def dpo(gain: torch.Tensor, beta: float) -> torch.Tensor:
    """[pairs], Rafailov et al. 2023, eq. 7. gain: [pairs, 2], log-probability over the reference's."""
    return -nn.functional.logsigmoid(beta * (gain[:, 0] - gain[:, 1]))


def kto(gain: torch.Tensor, beta: float, drift: torch.Tensor) -> torch.Tensor:
    """[pairs], Ethayarajh et al. 2024, eq. 8, both kinds of answer weighing 1. drift: how far from the reference the
    policy is anyway (their z0), no gradient through it.
    """
    better, worse = beta * (gain[:, 0] - drift), beta * (drift - gain[:, 1])
    return (2 - better.sigmoid() - worse.sigmoid()) / 2


def _train_once(
    network: nn.Module,
    train: Pairs,
    val: Pairs | None,
    epochs: int,
    params: PreferTrain,
    work: Path,
    on_progress: OnProgress,
) -> TrainingHistory:
    """Train `network` in place."""
    parameters = dict(classifier.trainable({"network": network}))
    lesson = make_lesson(network, train, val, epochs, params)
    rate, decay = params.lora.learning_rate, params.weight_decay
    return loop.train_loop(parameters, rate, decay, lesson, params, Checkpoints(work), on_progress)


def make_lesson(network: nn.Module, train: Pairs, val: Pairs | None, epochs: int, params: PreferTrain) -> Objective:
    lengths = [len(row.tokens) for row in train.rows]
    pairs = [lengths[row] + lengths[row + 1] for row in range(0, len(lengths), 2)]
    steps = loop.plan(pairs, epochs, params)
    every = [_rows_of(batch) for epoch in steps for step in epoch for batch in step]
    form = _form(network, lengths, every, params)

    def learn(step: Step, at: int) -> dict[str, torch.Tensor]:
        whole = float(sum(map(len, step)))
        drift = _drift(network, train, [pair for batch in step for pair in batch], params)
        network.train()
        loss = hits = torch.zeros((), device=decoder.head(network).device)
        for number, batch, counts in collectives.local_batches(step):
            loop.seed_batch(params, at, number)
            rows = _rows_of(batch)
            now = _likelihoods(network, [train.rows[row] for row in rows], form, params.precision)
            gain = (now - train.reference[rows].to(now.device)).view(-1, 2)
            each = whole if counts else math.inf
            share = _losses(gain, drift.to(now.device), params).sum() / each
            share.backward()
            loss = loss + share.detach()
            hits = hits + (gain[:, 0] > gain[:, 1]).sum() / each
        return {"train_loss": collectives.all_reduce_sum(loss), "train_preferred": collectives.all_reduce_sum(hits)}

    return Objective(steps, learn, (lambda: _validate(network, val, params)) if val else None)


def _rows_of(pairs: Sequence[int]) -> list[int]:
    return [row for pair in pairs for row in (2 * pair, 2 * pair + 1)]


def _losses(gain: torch.Tensor, drift: torch.Tensor, params: PreferTrain) -> torch.Tensor:
    return kto(gain, params.beta, drift) if params.method == "kto" else dpo(gain, params.beta)


def _drift(network: nn.Module, pairs: Pairs, which: list[int], params: PreferTrain) -> torch.Tensor:
    """KTO's z0, of the whole step: the mean gain of answers that were given to other prompts, not below 0."""
    if params.method != "kto":
        return torch.zeros(())
    now = _asked(network, [pairs.others[pair] for pair in which], params)
    return (now - pairs.of_others[which]).mean().clamp(min=0)


def _validate(network: nn.Module, val: Pairs, params: PreferTrain) -> dict[str, float]:
    gain = (_asked(network, val.rows, params) - val.reference).view(-1, 2)
    drift = _drift(network, val, list(range(len(val))), params)
    return {
        "val_loss": _losses(gain, drift, params).mean().item(),
        "val_preferred": (gain[:, 0] > gain[:, 1]).float().mean().item(),
        "val_margin": params.beta * (gain[:, 0] - gain[:, 1]).mean().item(),
    }
