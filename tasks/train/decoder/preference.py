"""Preference training: of two answers to one prompt, make the chosen likelier than the rejected.

It starts from a model that follows instructions and measures itself by it: the reference of DPO (Rafailov et al. 2023)
and KTO (Ethayarajh et al. 2024) is that very version. How likely it holds every answer is computed once, before the
first step, so no second network is kept. An adapter is trained on; on a whole network a new one learns, and is merged.

Why not TRL's trainers, which know these losses too: they stand on transformers' Trainer, whose resume takes a
checkpoint without its optimizer for a complete one, and they pad, where rows here lie end to end.
"""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from retune.config.generation import PreferTrain
from retune.errors import WrongUse
from retune.models import base_model, decoder, packing
from retune.models.chat_template import TokenizedExample
from retune.models.manifest import CausalLMManifest, read_causal_lm
from retune.models.packing import BatchShape, supervised
from retune.preflight import base_check, memory_check
from tasks.train.context import TrainContext, machine, make_deterministic, warn
from tasks.train.decoder import batch_plan, checks, parent_network
from tasks.train.decoder.losses import dpo, kto, log_likelihood
from tasks.train.decoder.network import Learner, parameter_counts, prepare_network
from tasks.train.decoder.pairs import Judged, Pairs, mismatched, render, rows_of
from tasks.train.decoder.rounds import TrainedCausalLM, choose_then_refit
from tasks.train.distributed import collectives
from tasks.train.loop import Objective, Step

USUAL_RATES = (1e-6, 2e-4)


def fit(train: pd.DataFrame, val: pd.DataFrame, context: TrainContext[PreferTrain], start: Path) -> TrainedCausalLM:
    """Train on the pairs of `train` from the model in the folder `start`, choose the epoch on those of `val`.

    Writes only below `context.work`. Raises WrongUse for params that do not go together, Refused for a start, rows or
    memory that do not suffice.
    """
    began = time.monotonic()
    config, device = context.config, context.device
    parent_manifest = read_causal_lm(start)
    check(config, parent_manifest)
    warnings = warn(unusual_rate(config))
    make_deterministic(config.seed, config.deterministic)
    checks.check_memory(config, device, memory_check.find(device.type == "cuda"), parent_manifest.method)
    base_check.require_positions(base_model.find(config.base.name), config)
    tokenizer, network = _load_start(start, parent_manifest, config)
    base_check.require_savable(tokenizer, config.base.name)
    learner = Learner(lambda: _load_start(start, parent_manifest, config)[1], prepare_network(network, config, device))
    del network
    splits = [render(frame, tokenizer, config) for frame in (train, val)]
    pairs = _with_reference(learner.network, splits[0] + splits[1], config)
    print(f"asked the reference of {len(pairs)} rows in {time.monotonic() - began:.1f} s on {device}", flush=True)
    train_count = len(splits[0])

    def objective(network: nn.Module, epochs: int, refit: bool) -> Objective:
        if refit:
            return make_objective(network, pairs, None, epochs, config)
        val_pairs = pairs.part(train_count, len(pairs))
        return make_objective(network, pairs.part(0, train_count), val_pairs, epochs, config)

    history = choose_then_refit(learner, objective, context)
    network = learner.gathered()
    report = {
        "method": config.method,
        "refit": config.refit,
        "best_epoch": history.best_epoch,
        "rows": len(pairs) if config.refit else train_count,
        "left_out_rows": len(train) + len(val) - len(pairs),
        "start": {"task": parent_manifest.task, "method": parent_manifest.method},
        **parameter_counts(network),
        "seconds": round(time.monotonic() - began, 1),
        "resumed_from_step": history.resumed_from,
        **machine(device),
        "processes": collectives.world_size(),
        "warnings": warnings,
    }
    manifest = CausalLMManifest(
        "prefer",
        parent_manifest.method,
        parent_manifest.base_name,
        parent_manifest.base_sha256,
        config.max_tokens,
        max(map(packing.longest_answer, pairs.rows)),
        parent_manifest.template,
    )
    return TrainedCausalLM(manifest, tokenizer, _merged(network, parent_manifest), history, report)


def check(config: PreferTrain, start: CausalLMManifest) -> None:
    """Raises WrongUse for params that do not go together, Refused for a start that training cannot go on from."""
    if config.batch_tokens < 2 * config.max_tokens:
        raise WrongUse(
            f"train.batch_tokens is {config.batch_tokens}, and a pair may take {2 * config.max_tokens}: raise it, or "
            "lower max_tokens"
        )
    parent_network.check(start, config)
    if config.lora.base_precision == "fp8" and (start.method != "lora" or config.lora.dropout):
        raise WrongUse(
            f"train.lora.base_precision is fp8, with a start of method {start.method} and dropout "
            f"{config.lora.dropout}: only a start of method lora, without dropout, is multiplied in 8 bits; write "
            "train.lora.base_precision: bf16"
        )
    checks.check_strategy(config)


def unusual_rate(config: PreferTrain) -> list[str]:
    """A warning if the learning rate is outside the range that usually works."""
    return checks.unusual_rate("lora", config.method, config.lora.learning_rate, USUAL_RATES)


def _load_start(folder: Path, manifest: CausalLMManifest, config: PreferTrain) -> tuple[Any, nn.Module]:
    """The tokenizer, with the template in it, and the network of the version that training goes on from."""
    lora = config.lora
    tokenizer, network = parent_network.load(folder, manifest, config)
    if manifest.method == "full":
        torch.manual_seed(config.seed)
        network = decoder.add_lora(
            network, manifest.base_name, lora.rank, lora.alpha, lora.dropout, lora.rank_stabilised, dora=False
        )
    return tokenizer, network


def _merged(network: Any, manifest: CausalLMManifest) -> nn.Module:
    """As it is saved: a whole network has its new adapter added into its weights."""
    whole: nn.Module = network.merge_and_unload() if manifest.method == "full" else network
    return whole.eval()


def _with_reference(network: nn.Module, judged: list[Judged], config: PreferTrain) -> Pairs:
    """The pairs, and how likely the start holds them: computed by the very forward that is trained."""
    others = mismatched(judged, config.max_tokens, config.seed) if config.method == "kto" else []
    return Pairs(judged, others, _score(network, rows_of(judged), config), _score(network, others, config))


def _score(network: nn.Module, rows: list[TokenizedExample], config: PreferTrain) -> torch.Tensor:
    """[rows], log-probability, on the CPU, without gradients."""
    if not rows:
        return torch.zeros(0)
    lengths = [len(row.tokens) for row in rows]
    batches = packing.pack_first_fit(lengths, config.batch_tokens, range(len(rows)))
    return _score_batches(network, rows, batches, _shape(network, lengths, batches, config), config)


def _shape(network: nn.Module, lengths: list[int], batches: list[list[int]], config: PreferTrain) -> BatchShape | None:
    """One shape for all on CUDA, else compiled layers would be compiled time and again."""
    return packing.shape(lengths, batches, config.batch_tokens) if decoder.head(network).is_cuda else None


@torch.no_grad()
def _score_batches(
    network: nn.Module,
    rows: Sequence[TokenizedExample],
    batches: list[list[int]],
    shape: BatchShape | None,
    config: PreferTrain,
) -> torch.Tensor:
    """[rows], log-probability, on the CPU; 0 for rows in no batch."""
    was_training = network.training
    network.eval()
    scores = torch.zeros(len(rows), device=decoder.head(network).device)
    for _, batch, counts in collectives.local_batches(batches):
        values = _log_probabilities(network, [rows[row] for row in batch], shape, config.precision)
        if counts:
            scores[batch] = values
    network.train(was_training)
    return collectives.all_reduce_sum(scores).cpu()


def _log_probabilities(
    network: nn.Module, rows: Sequence[TokenizedExample], shape: BatchShape | None, precision: str
) -> torch.Tensor:
    """[rows], the log-probability of each row's supervised tokens together; gradients go through it."""
    head = decoder.head(network)
    device = head.device
    batch = packing.pack(rows, device, shape)

    def compute() -> torch.Tensor:
        with decoder.autocast(network, precision):
            hidden = decoder.hidden_states(network, batch)
            return log_likelihood(hidden, decoder.head(network), batch.supervised, batch.targets)

    tokens = collectives.with_gathered_root(network, compute)
    counts = torch.tensor([supervised(row) for row in rows], device=device)
    owner = torch.arange(len(rows), device=device).repeat_interleave(counts, output_size=len(tokens))
    return torch.zeros(len(rows), device=device).index_add(0, owner, tokens)


def make_objective(network: nn.Module, train: Pairs, val: Pairs | None, epochs: int, config: PreferTrain) -> Objective:
    """The mean loss of DPO over the pairs of each step, or of KTO over the answers."""
    lengths = [len(row.tokens) for row in train.rows]
    pair_lengths = [sum(len(row.tokens) for row in each.rows) for each in train.judged]
    plan = batch_plan.plan_steps(pair_lengths, epochs, config)
    row_batches = [train.row_numbers(batch) for epoch in plan for step in epoch for batch in step]
    shape = _shape(network, lengths, row_batches, config)

    def backward(step: Step, number: int) -> dict[str, torch.Tensor]:
        numbers = [number for batch in step for number in batch]
        total = float(len(numbers) if config.method == "dpo" else len(train.row_numbers(numbers)))
        drift = _drift(network, train, numbers, config)
        network.train()
        loss = preferred = torch.zeros((), device=decoder.head(network).device)
        for place, batch, counts in collectives.local_batches(step):
            batch_plan.seed_batch(config, number, place)
            rows = train.row_numbers(batch)
            scores = _log_probabilities(network, [train.rows[row] for row in rows], shape, config.precision)
            gain = scores - train.reference[rows].to(scores.device)
            share = _losses(gain, train.liked[rows], drift, config).sum() / (total if counts else math.inf)
            torch.autograd.backward(share)
            loss = loss + share.detach()
            judged = [train.judged[number] for number in batch]
            preferred = preferred + _preferred(gain, judged).sum() / (len(numbers) if counts else math.inf)
        return {
            "train_loss": collectives.all_reduce_sum(loss),
            "train_preferred": collectives.all_reduce_sum(preferred),
        }

    rate = config.lora.learning_rate
    return Objective(
        plan=plan,
        backward=backward,
        validate=(lambda: _validate(network, val, config)) if val else None,
        score=lambda scores: -scores["val_loss"],
        learning_rate=lambda _: rate,
        rate_names=("train.lora.learning_rate",),
        weight_decay=config.weight_decay,
    )


def _losses(gain: torch.Tensor, liked: torch.Tensor, drift: torch.Tensor, config: PreferTrain) -> torch.Tensor:
    """[pairs] of DPO, [answers] of KTO"""
    if config.method == "dpo":
        return dpo(gain.view(-1, 2), config.beta)
    return kto(gain, liked.to(gain.device), config.beta, drift.to(gain.device))


def _preferred(gain: torch.Tensor, judged: Sequence[Judged]) -> torch.Tensor:
    """[judged] of bool: the chosen answer gained more than the rejected; a single one gained if liked, lost if not."""
    signed = torch.where(
        torch.tensor([liked for each in judged for liked in each.liked], device=gain.device), gain, -gain
    )
    counts = torch.tensor([len(each.rows) for each in judged], device=gain.device)
    owner = torch.arange(len(judged), device=gain.device).repeat_interleave(counts)
    return torch.zeros(len(judged), device=gain.device).index_add(0, owner, signed) > 0


def _drift(network: nn.Module, pairs: Pairs, numbers: list[int], config: PreferTrain) -> torch.Tensor:
    """KTO's z0, of the whole step: the mean gain of answers that belong to other prompts, not below 0."""
    if config.method != "kto":
        return torch.zeros(())
    scores = _score(network, [pairs.others[pair] for pair in numbers], config)
    return (scores - pairs.others_reference[numbers]).mean().clamp(min=0)


def _validate(network: nn.Module, val: Pairs, config: PreferTrain) -> dict[str, float]:
    gain = _score(network, val.rows, config) - val.reference
    drift = _drift(network, val, list(range(len(val))), config)
    return {
        "val_loss": _losses(gain, val.liked, drift, config).mean().item(),
        "val_preferred": _preferred(gain, val.judged).float().mean().item(),
        "val_margin": config.beta * (_mean(gain[val.liked]) - _mean(gain[~val.liked])),
    }


def _mean(values: torch.Tensor) -> float:
    """0 of none: people may have liked all answers, or none."""
    return values.mean().item() if len(values) else 0.0
