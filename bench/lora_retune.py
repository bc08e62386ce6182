"""Retune's own contenders of `lora_step.py`: packed batches in their forms, and the same batches under padding."""

import argparse
import time
from types import SimpleNamespace
from typing import Any

import torch
from lora_shapes import (
    DEVICE,
    KIND,
    ON_GPU,
    RATE,
    Rows,
    collate,
    network_of,
    package_versions,
    synchronize,
    warmup_steps,
    with_lora,
)
from torch import nn

from tasks.train.distributed import collectives

BUDGET, STEP_TOKENS = {True: 8192, False: 16384}, 131072  # tokens a batch, of full sequences or real rows


def run_retune(who: str, rows: Rows, options: argparse.Namespace, start: float) -> dict[str, Any]:
    from transformers import AttentionInterface, AttentionMaskInterface

    from retune.models import attention
    from tasks.train.decoder import network as networks
    from tasks.train.decoder import sft

    AttentionInterface.register(attention.NAME, attention.packed)
    AttentionMaskInterface.register(attention.NAME, attention.no_mask)
    config, examples = config_and_examples(rows, options)
    torch.use_deterministic_algorithms(who == "exact")
    if who != "full":
        network = with_lora(network_of(options, attention.NAME))
        network = networks.apply_speedups(network, who.endswith("fp8"), False, True)
    elif collectives.world_size() > 1:
        network = networks.shard_network(network_of(options, attention.NAME, torch.float32), True, True, KIND, DEVICE)
    else:
        network = networks.apply_speedups(network_of(options, attention.NAME, torch.float32), False, True, True)
    if graphs := who.startswith("graphs"):
        capture_layers(network)
    objective = sft.make_objective(network, examples, None, epochs(rows, config, options), config)
    steps = [step for epoch in objective.plan for step in epoch]

    def one(at: int) -> tuple[torch.Tensor, int]:
        loss = objective.backward(steps[at], at)["train_loss"]
        return loss, sum(len(examples[number].tokens) for batch in steps[at] for number in batch)

    return time_steps(one, network, options, start, keep_gradients=graphs)


def config_and_examples(rows: Rows, options: argparse.Namespace) -> tuple[Any, list[Any]]:
    """What the objective of the product reads of its parameters, and its rows."""
    from retune.models.chat_template import TokenizedExample

    budget = BUDGET[options.tokens is None] if ON_GPU else 1024
    accumulate = options.batches if options.tokens else STEP_TOKENS // budget
    config = SimpleNamespace(seed=17, batch_tokens=budget, accumulate=accumulate, neftune_alpha=0.0, precision="auto")
    config.method, config.weight_decay, config.lora = "lora", 0.0, SimpleNamespace(learning_rate=RATE)
    return config, [TokenizedExample(tokens, prompt) for tokens, prompt in rows]


def capture_layers(network: Any) -> None:
    """Capture the layers of `network` as a CUDA graph at their first batch: all batches have one shape."""
    from transformers.modeling_outputs import BaseModelOutput

    from retune.models import decoder

    body = decoder.body(network)
    forward, graphs = body.forward, []

    class Layers(nn.Module):
        def __init__(self, longest: int) -> None:
            super().__init__()
            self.body, self.longest = body, longest  # its parameters are these

        def forward(self, embedded: torch.Tensor, positions: torch.Tensor, cu_seqlens: torch.Tensor) -> torch.Tensor:
            arguments = {"cu_seq_lens_q": cu_seqlens, "max_length_q": self.longest, "use_cache": False}
            return forward(inputs_embeds=embedded, position_ids=positions, **arguments).last_hidden_state

    def replay(
        inputs_embeds: torch.Tensor,
        position_ids: torch.Tensor,
        cu_seq_lens_q: torch.Tensor,
        max_length_q: int,
        **_: Any,
    ) -> Any:
        inputs = inputs_embeds, position_ids, cu_seq_lens_q
        if not graphs:
            for parameter in network.parameters():  # a graph writes its gradients where the last ones were
                parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
            graphs.append(torch.cuda.make_graphed_callables(Layers(max_length_q), inputs))
        return BaseModelOutput(last_hidden_state=graphs[0](*inputs))

    body.forward = replay


def run_unpacked(_who: str, rows: Rows, options: argparse.Namespace, start: float) -> dict[str, Any]:
    from tasks.train.decoder import batch_plan

    config, _ = config_and_examples(rows, options)
    network = with_lora(network_of(options, "sdpa"))
    steps = [
        step
        for epoch in batch_plan.plan_steps([len(tokens) for tokens, _ in rows], epochs(rows, config, options), config)
        for step in epoch
    ]

    def one(at: int) -> tuple[torch.Tensor, int]:
        batches = [sorted(batch, key=lambda number: len(rows[number][0])) for batch in steps[at]]
        supervised = sum(len(rows[n][0]) - max(rows[n][1], 1) for batch in batches for n in batch)
        loss = torch.zeros((), device=DEVICE)
        for batch in batches:
            for numbers in (batch[place : place + 16] for place in range(0, len(batch), 16)):
                part = padded_loss(network, [rows[number] for number in numbers]) / supervised
                part.backward()
                loss += part.detach()
        return loss, sum(len(rows[number][0]) for batch in batches for number in batch)

    return time_steps(one, network, options, start)


def padded_loss(network: nn.Module, rows: Rows) -> torch.Tensor:
    """The sum over supervised tokens, by transformers' own forward on a padded batch."""
    batch = collate([{"input_ids": tokens, "labels": [-100] * prompt + tokens[prompt:]} for tokens, prompt in rows])
    batch = {name: value.to(DEVICE) for name, value in batch.items()}
    logits = network(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    return nn.functional.cross_entropy(logits.float().flatten(0, 1), batch["labels"][:, 1:].flatten(), reduction="sum")


def epochs(rows: Rows, config: Any, options: argparse.Namespace) -> int:
    tokens = sum(len(row) for row, _ in rows)
    return 1 + (options.steps + 2) * config.batch_tokens * config.accumulate // tokens


def time_steps(
    one: Any, network: nn.Module, options: argparse.Namespace, start: float, keep_gradients: bool = False
) -> dict[str, Any]:
    """AdamW over steps: one that compiles, one that warms up, then those that are timed. keep_gradients: in place."""
    network.train()
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, fused=True)
    losses, tokens, first, timing_start = [], 0, 0.0, 0.0
    for at in range(warmup_steps(options) + options.steps):
        if at == warmup_steps(options):
            synchronize()
            tokens, timing_start = 0, time.perf_counter()
        loss, count = one(at)
        collectives.all_reduce_gradients(parameters)
        collectives.clip(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=not keep_gradients)
        losses.append(loss)
        tokens += count
        if at == 0:
            synchronize()
            first = time.perf_counter() - start
    synchronize()
    seconds = time.perf_counter() - timing_start
    return {
        "tokens_per_second": tokens / seconds,
        "first_step": first,
        "losses": [float(loss) for loss in losses],
        "versions": package_versions("transformers", "peft"),
    }
