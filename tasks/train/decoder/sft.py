"""Supervised fine-tuning on instructions: render the rows, train on the completions and, if params say so, refit.

A row's prompt is read and not learned from; its completion is, with the end of sequence. Rows lie end to end in
batches of a budget of tokens (`retune.models.packing`), and where nothing forbids it a step is as fast as we know how:
LoRA as one operation, layers compiled one by one, the head applied to supervised tokens alone.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import nn

from retune.config.generation import InstructTrain
from retune.data import replay_sampling
from retune.errors import WrongUse
from retune.models import base_model, decoder, packing
from retune.models.chat_template import TokenizedExample
from retune.models.manifest import CausalLMManifest
from retune.models.packing import BatchShape, supervised
from retune.preflight import base_check, memory_check
from tasks.train.context import TrainContext, machine, make_deterministic, warn
from tasks.train.decoder import batch_plan, checks, examples, parent_network, step
from tasks.train.decoder.examples import Replay, TokenizedSplit
from tasks.train.decoder.network import (
    LIKE_LORA,
    Learner,
    add_adapter,
    load_start,
    parameter_counts,
    prepare_network,
)
from tasks.train.decoder.rounds import TrainedCausalLM, choose_then_refit
from tasks.train.distributed import collectives
from tasks.train.loop import Objective, Step, TrainingHistory
from tasks.train.parent import ParentCausalLM

USUAL_RATES = {
    "full": (1e-6, 1e-4),
    "lora": (5e-5, 2e-3),
    "ia3": (2e-3, 5e-2),  # these two change so little of the network that they need some 50 times as much
    "prompt": (2e-3, 3e-1),
}


@dataclass(frozen=True)
class Data:
    """All that is learned from and validated on."""

    train: TokenizedSplit
    val: TokenizedSplit
    replay: Replay
    refit: bool

    @property
    def learned(self) -> list[TokenizedExample]:
        """The rows that the model that is saved has learned, without replay."""
        return self.train.rows + self.val.rows if self.refit else self.train.rows


def fit(
    train: pd.DataFrame,
    val: pd.DataFrame,
    context: TrainContext[InstructTrain],
    replay_examples: pd.DataFrame | None = None,
    start: ParentCausalLM | None = None,
) -> TrainedCausalLM:
    """Train on the rows of `train`, choose the epoch on those of `val`. Writes only below `context.work`.

    Of `replay_examples` `config.replay_share` is mixed in among the rows. `start`: the version to go on from; None: the
    base. Raises WrongUse for params that do not go together, Refused for rows, a base or memory that do not suffice.
    """
    began = time.monotonic()
    config, device = context.config, context.device
    check(config)
    if start:
        parent_network.check(start.manifest, config, method=config.method)
    warnings = warn(unusual_rate(config) + (examples.warn_of_learned_val(start) if start else []))
    make_deterministic(config.seed, config.deterministic)
    checks.check_memory(config, device, memory_check.find(device.type == "cuda"))
    base_check.require_positions(base_model.find(config.base.name), config)
    tokenizer, network = load_start(context, start)
    base_check.require_savable(tokenizer, config.base.name)
    data = _prepare_data(train, val, replay_examples, tokenizer, config)
    warnings += warn(examples.replay_shortage(data.replay, len(data.learned), config))
    _check_tokens(data, network)
    print(
        f"rendered {len(train) + len(val)} rows in {time.monotonic() - began:.1f} s, to train on {device}", flush=True
    )

    learner = Learner(
        lambda: add_adapter(load_start(context, start)[1], config),
        prepare_network(add_adapter(network, config), config, device),
    )
    del network

    def objective(network: nn.Module, epochs: int, refit: bool) -> Objective:
        rows = data.train.rows + (data.val.rows if refit else [])
        replay = data.replay.rows[: replay_sampling.required_count(len(rows), config.replay_share)]
        return make_objective(network, rows + replay, None if refit else data.val.rows, epochs, config)

    history = choose_then_refit(learner, objective, context)
    network = learner.gathered().eval()
    max_new_tokens = max(map(packing.longest_answer, data.train.rows + data.val.rows))
    base = (config.base.name, config.base.sha256)
    manifest = CausalLMManifest("instruct", config.method, *base, config.max_tokens, max_new_tokens, config.template)
    report = {
        **_data_report(data, start),
        **_run_report(history, network, context),
        "seconds": round(time.monotonic() - began, 1),
        "warnings": warnings,
    }
    return TrainedCausalLM(manifest, tokenizer, network, history, report)


def _prepare_data(
    train: pd.DataFrame, val: pd.DataFrame, replay: pd.DataFrame | None, tokenizer: Any, config: InstructTrain
) -> Data:
    train_split, val_split = (examples.render(frame, tokenizer, config) for frame in (train, val))
    rows = len(train_split.rows) + (len(val_split.rows) if config.refit else 0)
    return Data(train_split, val_split, examples.draw_replay(replay, rows, tokenizer, config), config.refit)


def _check_tokens(data: Data, network: Any) -> None:
    vocabulary = network.get_input_embeddings().num_embeddings
    for rows in (data.train.rows, data.val.rows, data.replay.rows):
        examples.check_rows(rows, vocabulary)


def _data_report(data: Data, start: ParentCausalLM | None) -> dict[str, Any]:
    splits, learned = (data.train, data.val), data.learned
    return {
        "rows": sum(len(split.frame) for split in (splits if data.refit else splits[:1])),
        "answers": sum(len(row.spans) for row in learned),
        "left_out_rows": sum(split.too_long for split in splits),
        "cut_rows": sum(split.truncated for split in splits),
        "tokens": sum(len(row.tokens) for row in learned),
        "supervised_tokens": sum(map(supervised, learned)),
        **({"general": examples.replay_report(data.replay, len(learned))} if data.replay.rows else {}),
        **({"start": examples.count_new(start, splits, data.refit)} if start else {}),
    }


def _run_report(history: TrainingHistory, network: nn.Module, context: TrainContext[InstructTrain]) -> dict[str, Any]:
    return {
        "method": context.config.method,
        "refit": context.config.refit,
        "best_epoch": history.best_epoch,
        **parameter_counts(network),
        "resumed_from_step": history.resumed_from,
        **machine(context.device),
        "processes": collectives.world_size(),
    }


def check(config: InstructTrain) -> None:
    """Raises WrongUse for params that do not go together."""
    longest = config.max_tokens + (config.prompt.virtual_tokens if config.method == "prompt" else 0)
    if config.batch_tokens < longest:
        raise WrongUse(
            f"train.batch_tokens is {config.batch_tokens}, and one row may take {longest}: raise it, or lower "
            "max_tokens"
        )
    if config.lora.base_precision == "fp8" and (config.method != "lora" or config.lora.dropout):
        raise WrongUse(
            f"train.lora.base_precision is fp8, with method {config.method} and dropout {config.lora.dropout}: only "
            "method lora without dropout multiplies in 8 bits; write train.lora.base_precision: bf16"
        )
    if config.method == "qlora" and config.parallel.strategy == "fsdp":
        raise WrongUse(
            "train.parallel.strategy is fsdp, and train.method qlora: weights in 4 bits are not sharded; write "
            "train.method: lora, or strategy: ddp"
        )
    checks.check_strategy(config)


def learning_rate(config: InstructTrain) -> float:
    if config.method in LIKE_LORA:
        return config.lora.learning_rate
    rates = {"full": config.full.learning_rate, "ia3": config.ia3.learning_rate, "prompt": config.prompt.learning_rate}
    return rates[config.method]


def _rate_section(config: InstructTrain) -> str:
    """The section of `train` that holds the method's learning rate."""
    return "lora" if config.method in LIKE_LORA else config.method


def unusual_rate(config: InstructTrain) -> list[str]:
    """A warning if the method's learning rate is outside the range that usually works."""
    section = _rate_section(config)
    return checks.unusual_rate(section, config.method, learning_rate(config), USUAL_RATES[section])


def make_objective(
    network: nn.Module,
    train: list[TokenizedExample],
    val: list[TokenizedExample] | None,
    epochs: int,
    config: InstructTrain,
) -> Objective:
    """The mean cross-entropy of the supervised tokens of each step."""
    train_rows, device = decoder.with_virtual_tokens(train, network), decoder.head(network).device
    lengths = [len(row.tokens) for row in train_rows]
    plan = batch_plan.plan_steps(lengths, epochs, config)
    val_rows = decoder.with_virtual_tokens(val or [], network)
    val_lengths = [len(row.tokens) for row in val_rows]
    val_batches = packing.pack_first_fit(val_lengths, config.batch_tokens, range(len(val_rows)))
    shape = None
    if device.type == "cuda":  # one shape for all, else compiled layers would be compiled time and again
        every = [batch for epoch in plan for batches in epoch for batch in batches]
        every += [[len(train_rows) + row for row in batch] for batch in val_batches]
        shape = packing.shape(lengths + val_lengths, every, config.batch_tokens)

    def backward(batches: Step, number: int) -> dict[str, torch.Tensor]:
        network.train()
        total = float(sum(supervised(train_rows[row]) for batch in batches for row in batch))
        loss = torch.zeros((), device=device)
        for place, batch, counts in collectives.local_batches(batches):
            batch_plan.seed_batch(config, number, place)
            packed = packing.pack([train_rows[row] for row in batch], device, shape)
            weight = total if counts else math.inf
            loss += step.backward(network, packed, weight, config.neftune_alpha, config.precision)
        return {"train_loss": collectives.all_reduce_sum(loss)}

    def validate() -> dict[str, float]:
        return _validate(network, val_rows, val_batches, shape, config.precision)

    rate = learning_rate(config)
    return Objective(
        plan=plan,
        backward=backward,
        validate=validate if val_rows else None,
        score=lambda scores: -scores["val_loss"],
        learning_rate=lambda _: rate,
        rate_names=(f"train.{_rate_section(config)}.learning_rate",),
        weight_decay=0.0 if config.method in ("ia3", "prompt") else config.weight_decay,  # those start not at 0
    )


@torch.no_grad()
def _validate(
    network: nn.Module,
    rows: Sequence[TokenizedExample],
    batches: list[list[int]],
    shape: BatchShape | None,
    precision: str,
) -> dict[str, float]:
    network.eval()
    device, total = decoder.head(network).device, float(sum(map(supervised, rows)))
    loss = torch.zeros((), device=device)
    for _, batch, counts in collectives.local_batches(batches):
        packed = packing.pack([rows[row] for row in batch], device, shape)
        loss += step.loss(network, packed, total if counts else math.inf, 0.0, precision)
    collectives.all_reduce_sum(loss)
    return {"val_loss": loss.item(), "val_perplexity": math.exp(min(loss.item(), 700.0))}
