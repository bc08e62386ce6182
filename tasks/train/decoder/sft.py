"""The story of instruct training: render the rows, train on the completions, and, if params say so, refit on both.

A row's prompt is read and not learned from; its completion is, with the end of sequence. Rows lie end to end in
batches of a budget of tokens (`retune.models.packing`), and where nothing forbids it a step is as fast as we know how:
LoRA as one operation, layers compiled one by one, the head applied to supervised tokens alone.
"""

import gc
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from retune.config.generation import InstructTrain, PreferTrain
from retune.data import replay_sampling
from retune.errors import Refused, WrongUse
from retune.models import base_model, chat_template, classifier, decoder, packing
from retune.models.chat_template import TokenizedExample
from retune.models.manifest import CausalLMManifest
from retune.models.packing import BatchShape, supervised
from retune.preflight import compute_estimate, memory_check
from tasks.train import parent
from tasks.train.checkpoint import Checkpoints
from tasks.train.decoder import loop, lora_fusion, parent_network, step
from tasks.train.decoder.loop import Objective, Step
from tasks.train.distributed import collectives
from tasks.train.encoder.loop import OnProgress, TrainingHistory, prepare, refit
from tasks.train.parent import ParentCausalLM

USUAL_RATES = {
    "full": (1e-6, 1e-4),
    "lora": (5e-5, 2e-3),
    "ia3": (2e-3, 5e-2),  # these two change so little of the network that they need some 50 times as much
    "prompt": (2e-3, 3e-1),
}
LIKE_LORA = ("lora", "qlora", "dora")
SHOWN = 3  # rows that an error message names


@dataclass(frozen=True)
class Side:
    """One side, ready for the network."""

    rows: list[TokenizedExample]
    of: pd.DataFrame  # where they come from, each at the place of its own
    left_out: int = 0  # longer than max_tokens
    cut: int = 0  # whose prompt was


@dataclass(frozen=True)
class Mixed:
    """General examples among the rows, none of which they are."""

    rows: list[TokenizedExample]
    files: list[str]  # that each comes from


def fit(
    train: pd.DataFrame,
    val: pd.DataFrame,
    params: InstructTrain,
    work: Path,
    on_progress: OnProgress,
    examples: pd.DataFrame | None = None,
    start: ParentCausalLM | None = None,
) -> tuple[CausalLMManifest, Any, nn.Module, TrainingHistory, dict[str, Any]]:
    """Train on the rows of `train`, choose the epoch on those of `val`. Writes only below `work`.

    Of `examples`, which are general ones, `params.replay_share` is mixed in among what is learned from. `start`: the
    version to go on from; None: the base.
    Returns what model.json will say, the tokenizer, the network, the learning curve, and a report of how it went.
    """
    began = time.monotonic()
    check(params)
    if start:
        parent_network.check(start.manifest, params, method=params.method)
    warnings = unusual_rate(params) + (seen_before(start) if start else [])
    for warning in warnings:
        print(f"warning: {warning}", flush=True)
    device = prepare(params.seed, params.device, params.deterministic)
    check_room(params, device, memory_check.find(device.type == "cuda"))
    tokenizer, network = _start(params, device, start)
    sides = [render(frame, tokenizer, params.max_tokens, params.too_long) for frame in (train, val)]
    train_side, val_side = sides
    rows = len(train_side.rows) + (len(val_side.rows) if params.refit else 0)
    general = mixed(examples, rows, tokenizer, params)
    warnings += replay_shortage(general, rows, params)
    vocabulary = network.get_input_embeddings().num_embeddings  # type: ignore[operator]
    for some in (train_side.rows, val_side.rows, general.rows):
        check_rows(some, vocabulary)
    print(
        f"rendered {len(train) + len(val)} rows in {time.monotonic() - began:.1f} s, to train on {device}", flush=True
    )

    network = prepare_network(_add_adapter(network, params), params, device)
    learned = train_side.rows
    shown = learned + general.rows[: replay_sampling.required_count(len(learned), params.replay_share)]
    curve = _train_once(network, shown, val_side.rows, params.epochs, params, work / "choose", on_progress)
    best = curve.best_epoch
    if params.refit:
        learned, chosen, later = train_side.rows + val_side.rows, curve, refit(curve, on_progress)
        del network  # before the next one is loaded: there may be no room for two
        gc.collect()
        network = prepare_network(_add_adapter(_start(params, device, start)[1], params), params, device)
        curve = _train_once(network, learned + general.rows, None, best, params, work / "refit", later).after(chosen)

    network = collectives.gather_weights(network, lambda: _add_adapter(_start(params, device, start)[1], params))
    longest = max(supervised(row) for side in sides for row in side.rows)
    own = params.base
    card = CausalLMManifest(
        "instruct", params.method, own.name, own.sha256, params.max_tokens, longest, params.template
    )
    seconds = time.monotonic() - began
    report = {
        "method": params.method,
        "refit": params.refit,
        "best_epoch": best,
        "rows": len(learned),
        "left_out_rows": sum(side.left_out for side in sides),
        "cut_rows": sum(side.cut for side in sides),
        "tokens": sum(len(row.tokens) for row in learned),
        "supervised_tokens": sum(map(supervised, learned)),
        **({"general": replay_report(general, rows)} if general.rows else {}),
        **({"start": new_to(start, sides, params.refit)} if start else {}),
        **sizes(network),
        "seconds": round(seconds, 1),
        "resumed_from_step": curve.resumed_from,
        **machine(device),
        "warnings": warnings,
    }
    return card, tokenizer, network.eval(), curve, report


# ---------------------------------------------------------------- what is asked, before it costs time


def check(params: InstructTrain) -> None:
    """Raises WrongUse for params that cannot go together."""
    longest = params.max_tokens + (params.prompt.virtual_tokens if params.method == "prompt" else 0)
    if params.batch_tokens < longest:
        raise WrongUse(
            f"train.batch_tokens is {params.batch_tokens}, and one row may take {longest}: raise it, or lower "
            "max_tokens"
        )
    if params.lora.base_precision == "fp8" and (params.method != "lora" or params.lora.dropout):
        raise WrongUse(
            f"train.lora.base_precision is fp8, with method {params.method} and dropout {params.lora.dropout}: only "
            "method lora without dropout multiplies in 8 bits; write train.lora.base_precision: bf16"
        )
    if params.method == "qlora" and params.parallel.strategy == "fsdp":
        raise WrongUse(
            "train.parallel.strategy is fsdp, and train.method qlora: what is held in 4 bits is not spread; write "
            "train.method: lora, or strategy: ddp"
        )
    check_strategy(params)


def check_strategy(params: InstructTrain | PreferTrain) -> None:
    if params.parallel.strategy == "fsdp" and params.lora.base_precision == "fp8":
        raise WrongUse(
            "train.parallel.strategy is fsdp, and train.lora.base_precision fp8: what is held in 8 bits is not spread; "
            "write train.lora.base_precision: bf16, or strategy: ddp"
        )


def check_room(
    params: InstructTrain | PreferTrain,
    device: torch.device,
    there: memory_check.AvailableMemory,
    start: str | None = None,
) -> None:
    """Raises Refused where weights, gradients and Adam's moments alone are more than the memory that is free; where
    only the estimate of the whole is, prints a warning. `start`: the method of the version that preferences are learned
    on.
    """
    cuda, bf16 = device.type == "cuda", decoder.weight_dtype(params.precision, device) == torch.bfloat16
    try:
        shape = compute_estimate.shape_of(base_model.find(params.base.name))
    except Refused as error:  # it may be one that trains all the same
        print(f"warning: nobody knows whether the training fits into memory: {error}", flush=True)
        return
    found = memory_check.check_memory(shape, params, bf16, there, cuda, start)
    if found.verdict == "too large":
        raise Refused(found.told)
    if found.verdict == "tight":
        print(f"warning: {found.told}", flush=True)


def learning_rate(params: InstructTrain) -> float:
    if params.method in LIKE_LORA:
        return params.lora.learning_rate
    rates = {"full": params.full.learning_rate, "ia3": params.ia3.learning_rate, "prompt": params.prompt.learning_rate}
    return rates[params.method]


def unusual_rate(params: InstructTrain) -> list[str]:
    """A warning if the method's learning rate is outside the range that usually works."""
    section, rate = "lora" if params.method in LIKE_LORA else params.method, learning_rate(params)
    low, high = USUAL_RATES[section]
    if low <= rate <= high:
        return []
    return [f"train.{section}.learning_rate is {rate:g}; usual for method {params.method} is {low:g} to {high:g}"]


# ---------------------------------------------------------------- rows


def render(frame: pd.DataFrame, tokenizer: Any, max_tokens: int, too_long: str) -> Side:
    """The tokens of each row that is trained on; which were too long for it is counted."""
    whole = [chat_template.render(tokenizer, *row) for row in zip(frame["text"], frame["label"], strict=True)]
    short = [chat_template.shortened(row, max_tokens, too_long) for row in whole]
    rows, of = [row for row in short if row is not None], frame[[row is not None for row in short]]
    if not rows:
        raise Refused(
            f"all {len(frame)} rows of a side are longer than train.max_tokens, {max_tokens}: raise it, or write "
            "train.too_long: cut_prompt"
        )
    changed = sum(row is not None and row is not before for row, before in zip(short, whole, strict=True))
    if changed or len(rows) < len(whole):
        left_out = len(whole) - len(rows)
        print(f"{left_out} rows are left out and {changed} prompts cut: longer than {max_tokens} tokens", flush=True)
    return Side(rows, of, len(whole) - len(rows), changed)


def mixed(examples: pd.DataFrame | None, rows: int, tokenizer: Any, params: InstructTrain) -> Mixed:
    """So many general examples that they are their share beside `rows` others; one that is too long is passed over."""
    most = replay_sampling.required_count(rows, params.replay_share)
    found = Mixed([], [])
    if examples is None or not most:
        return found
    for text, label, file in replay_sampling.in_draw_order(examples, params.seed)[
        ["text", "label", "source"]
    ].to_numpy():
        row = chat_template.shortened(chat_template.render(tokenizer, text, label), params.max_tokens, params.too_long)
        if row is not None:
            found.rows.append(row)
            found.files.append(file)
        if len(found.rows) == most:
            break
    return found


def replay_shortage(general: Mixed, rows: int, params: InstructTrain) -> list[str]:
    """A warning if there are fewer general examples than asked for. Nobody is asked where there is no file."""
    asked = replay_sampling.required_count(rows, params.replay_share)
    if not general.rows or len(general.rows) >= asked:
        return []
    told = (
        f"train.replay_share is {params.replay_share:g} and asks for {asked} general examples beside {rows} rows: "
        f"only {len(general.rows)} are there and short enough"
    )
    print(f"warning: {told}", flush=True)
    return [told]


def replay_report(general: Mixed, rows: int) -> dict[str, Any]:
    """What of the general examples was learned from, for the report; `rows`: the others."""
    return {
        "rows": len(general.rows),
        "share": round(len(general.rows) / (rows + len(general.rows)), 6),
        "tokens": sum(len(row.tokens) for row in general.rows),
        "supervised_tokens": sum(map(supervised, general.rows)),
        "files": dict(sorted(Counter(general.files).items())),
    }


def check_rows(rows: Sequence[TokenizedExample], vocabulary: int) -> None:
    """Raises Refused for rows that nothing would be learned from, or whose tokens the base does not have."""
    if empty := [number for number, row in enumerate(rows) if not supervised(row)]:
        raise Refused(
            f"{len(empty)} rows supervise no token, such as row {', '.join(map(str, empty[:SHOWN]))}: nothing would be "
            "learned from them; look at their completions, and at train.template"
        )
    if (highest := max((max(row.tokens) for row in rows), default=0)) >= vocabulary:
        raise Refused(
            f"the tokenizer knows a token {highest}, and the base has {vocabulary}: they do not belong together"
        )


def new_to(start: ParentCausalLM, sides: Sequence[Side], refit: bool) -> dict[str, int]:
    """How much of what was learned from is new to the version that was started from."""
    there = {name for side in sides for name in side.of["id"]}
    return parent.counts(pd.concat([side.of for side in (sides if refit else sides[:1])]), there, start.known)


def seen_before(start: ParentCausalLM) -> list[str]:
    """A warning where val is no yardstick: nobody is surer of rows than who has learned them."""
    if not start.start.refit or start.known.empty:
        return []
    return [
        f"{start.start.name} learned from its val rows too (refit), so the best epoch is chosen on rows that it knows"
    ]


# ---------------------------------------------------------------- the network


def _start(params: InstructTrain, device: torch.device, start: ParentCausalLM | None) -> tuple[Any, nn.Module]:
    """What is started from, and its tokenizer with the template in it.

    Whole networks learn in float32, whatever they are multiplied in: at these rates bf16 rounds the steps away.
    """
    if start:
        return parent_network.load(start.folder, start.manifest, params)
    precision = "fp32" if params.method == "full" else params.precision
    if params.lora.base_precision == "fp8":
        lora_fusion.check_eight_bits(device, decoder.weight_dtype(precision, device))
    name, sha256 = params.base.name, params.base.sha256
    kept, place = collectives.loaded_as(params.parallel, precision, device)
    tokenizer, network = decoder.load_base(name, sha256, kept, place, params.method == "qlora")
    chat_template.choose(tokenizer, params.template)
    return tokenizer, network


def _add_adapter(network: nn.Module, params: InstructTrain) -> nn.Module:
    """The network that learns, its new weights drawn from the seed; an adapter that it has is gone on with."""
    torch.manual_seed(params.seed)
    name, own = params.base.name, params.lora
    if hasattr(network, "peft_config"):
        pass
    elif params.method == "ia3":
        network = decoder.add_ia3(network, name)
    elif params.method == "prompt":
        network = decoder.add_prompt(network, name, params.prompt.virtual_tokens)
    elif params.method in LIKE_LORA:
        dora = params.method == "dora"
        network = decoder.add_lora(network, name, own.rank, own.alpha, own.dropout, own.rank_stabilised, dora)
    return network


def prepare_network(network: nn.Module, params: InstructTrain | PreferTrain, device: torch.device) -> nn.Module:
    """The network as it learns: whole and quick, or in parts, one with each process."""
    kind = decoder.weight_dtype(params.precision, device)
    compiled = params.compile and kind == torch.bfloat16  # the attention of float32 cannot be
    own = params.gradient_checkpointing, compiled
    if params.parallel.strategy == "ddp":
        return apply_speedups(network, params.lora.base_precision == "fp8", *own)
    return shard_network(network, *own, kind, device)


def apply_speedups(network: nn.Module, eight_bits: bool, checkpointing: bool, compiled: bool) -> nn.Module:
    """The same network, its LoRA layers one operation each; on CUDA its layers compiled, if asked."""
    if hasattr(network, "peft_config"):
        lora_fusion.fuse(network, eight_bits)
    if checkpointing:
        _checkpoint(network)
    if compiled and decoder.head(network).is_cuda:
        step.compile_layers(network)
    return network


def shard_network(
    network: nn.Module, checkpointing: bool, compiled: bool, multiplied_in: torch.dtype, device: torch.device
) -> nn.Module:
    """The same network, its weights spread over the processes. Its LoRA layers stay PEFT's."""
    if checkpointing:
        _checkpoint(network)
    if compiled and device.type == "cuda":
        step.compile_forwards(network)
    collectives.shard(network, list(decoder.body(network).layers), multiplied_in, device)
    return network


def _checkpoint(network: Any) -> None:
    network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def _train_once(
    network: nn.Module,
    train: list[TokenizedExample],
    val: list[TokenizedExample] | None,
    epochs: int,
    params: InstructTrain,
    work: Path,
    on_progress: OnProgress,
) -> TrainingHistory:
    """Train `network` in place."""
    parameters = dict(classifier.trainable({"network": network}))
    decay = 0.0 if params.method in ("ia3", "prompt") else params.weight_decay  # they start elsewhere than at 0
    lesson = make_lesson(network, train, val, epochs, params)
    return loop.train_loop(parameters, learning_rate(params), decay, lesson, params, Checkpoints(work), on_progress)


def make_lesson(
    network: nn.Module,
    train: list[TokenizedExample],
    val: list[TokenizedExample] | None,
    epochs: int,
    params: InstructTrain,
) -> Objective:
    ready, device = decoder.with_virtual_tokens(train, network), decoder.head(network).device
    lengths = [len(row.tokens) for row in ready]
    steps = loop.plan(lengths, epochs, params)
    seen = decoder.with_virtual_tokens(val or [], network)
    val_lengths = [len(row.tokens) for row in seen]
    val_batches = packing.pack_first_fit(val_lengths, params.batch_tokens, range(len(seen)))
    form = None
    if device.type == "cuda":  # one shape for all, else compiled layers would be compiled time and again
        every = [batch for epoch in steps for step in epoch for batch in step]
        every += [[len(ready) + row for row in batch] for batch in val_batches]
        form = packing.shape(lengths + val_lengths, every, params.batch_tokens)

    def learn(batches: Step, at: int) -> dict[str, torch.Tensor]:
        network.train()
        whole = float(sum(supervised(ready[row]) for batch in batches for row in batch))
        loss = torch.zeros((), device=device)
        for number, batch, counts in collectives.local_batches(batches):
            loop.seed_batch(params, at, number)
            own = packing.pack([ready[row] for row in batch], device, form)
            loss += step.learn(network, own, whole if counts else math.inf, params.neftune_alpha, params.precision)
        return {"train_loss": collectives.all_reduce_sum(loss)}

    def validate() -> dict[str, float]:
        return _validate(network, seen, val_batches, form, params)

    return Objective(steps, learn, validate if seen else None)


@torch.no_grad()
def _validate(
    network: nn.Module,
    rows: Sequence[TokenizedExample],
    batches: list[list[int]],
    form: BatchShape | None,
    params: InstructTrain,
) -> dict[str, float]:
    network.eval()
    device, whole = decoder.head(network).device, float(sum(map(supervised, rows)))
    loss = torch.zeros((), device=device)
    for _, batch, counts in collectives.local_batches(batches):
        own = packing.pack([rows[row] for row in batch], device, form)
        loss += step.loss(network, own, whole if counts else math.inf, 0.0, params.precision)
    collectives.all_reduce_sum(loss)
    return {"val_loss": loss.item(), "val_perplexity": math.exp(min(loss.item(), 700.0))}


# ---------------------------------------------------------------- the report


def sizes(network: nn.Module) -> dict[str, int]:
    """Of a packed 4-bit weight its bytes are counted, not its numbers."""
    return {
        "parameters": sum(value.numel() for value in network.parameters()),
        "trained_parameters": sum(value.numel() for value in network.parameters() if value.requires_grad),
    }


def machine(device: torch.device) -> dict[str, Any]:
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "cuda": str(torch.version.cuda or "none"),
        "processes": collectives.size(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
