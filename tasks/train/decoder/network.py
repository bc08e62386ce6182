"""The network that learns: loaded, under its adapter, made fast or sharded, and loaded once more for the refit."""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from retune.config.generation import InstructTrain, PreferTrain
from retune.models import chat_template, decoder
from tasks.train.context import TrainContext
from tasks.train.decoder import lora_fusion, parent_network, step
from tasks.train.distributed import collectives
from tasks.train.parent import ParentCausalLM

LIKE_LORA = ("lora", "qlora", "dora")
DecoderContext = TrainContext[InstructTrain | PreferTrain]


@dataclass
class Learner:
    """The network that learns, and how to load it again as training began with it."""

    load: Callable[[], nn.Module]  # the start under its adapter, not prepared yet
    network: nn.Module  # prepared

    def restart(self, context: DecoderContext) -> None:
        """Begin again. The network goes before the next one is loaded: there may be no memory for two."""
        del self.network
        gc.collect()
        self.network = prepare_network(self.load(), context.config, context.device)

    def gathered(self) -> nn.Module:
        """The network with all that it has learned, to be saved."""
        return collectives.gather_weights(self.network, self.load)


def load_start(context: TrainContext[InstructTrain], start: ParentCausalLM | None) -> tuple[Any, nn.Module]:
    """The tokenizer, with the template in it, and the network: of the base, or of the version to go on from.

    Whole networks learn in float32, whatever they are multiplied in: at these rates bf16 rounds the steps away.
    """
    config, device = context.config, context.device
    if start:
        return parent_network.load(start.folder, start.manifest, config)
    precision = "fp32" if config.method == "full" else config.precision
    if config.lora.base_precision == "fp8":
        lora_fusion.check_eight_bits(device, decoder.weight_dtype(precision, device))
    load_precision, place = collectives.loaded_as(config.parallel, precision, device)
    base, four_bits = config.base, config.method == "qlora"
    tokenizer, network = decoder.load_base(base.name, base.sha256, load_precision, place, four_bits)
    chat_template.choose(tokenizer, config.template)
    return tokenizer, network


def add_adapter(network: nn.Module, config: InstructTrain) -> nn.Module:
    """The network that learns, its new weights drawn from the seed. One that has an adapter goes on with it."""
    torch.manual_seed(config.seed)
    name, lora = config.base.name, config.lora
    if hasattr(network, "peft_config"):
        return network
    if config.method == "ia3":
        return decoder.add_ia3(network, name)
    if config.method == "prompt":
        return decoder.add_prompt(network, name, config.prompt.virtual_tokens)
    if config.method in LIKE_LORA:
        dora = config.method == "dora"
        return decoder.add_lora(network, name, lora.rank, lora.alpha, lora.dropout, lora.rank_stabilised, dora)
    return network


def prepare_network(network: nn.Module, config: InstructTrain | PreferTrain, device: torch.device) -> nn.Module:
    """The network as it learns: whole and fast, or sharded over the processes."""
    dtype = decoder.weight_dtype(config.precision, device)
    compiled = config.compile and dtype == torch.bfloat16  # the attention of float32 cannot be compiled
    if config.parallel.strategy == "ddp":
        eight_bits = config.lora.base_precision == "fp8"
        return apply_speedups(network, eight_bits, config.gradient_checkpointing, compiled)
    return shard_network(network, config.gradient_checkpointing, compiled, dtype, device)


def apply_speedups(network: nn.Module, eight_bits: bool, checkpointing: bool, compiled: bool) -> nn.Module:
    """The same network, its LoRA layers one operation each; on CUDA, with `compiled`, its layers compiled."""
    if hasattr(network, "peft_config"):
        lora_fusion.fuse(network, eight_bits)
    if checkpointing:
        _checkpoint(network)
    if compiled and decoder.head(network).is_cuda:
        step.compile_layers(network)
    return network


def shard_network(
    network: nn.Module, checkpointing: bool, compiled: bool, dtype: torch.dtype, device: torch.device
) -> nn.Module:
    """The same network, its weights sharded over the processes and multiplied in `dtype`. LoRA layers stay PEFT's."""
    if checkpointing:
        _checkpoint(network)
    if compiled and device.type == "cuda":
        step.compile_forwards(network)
    collectives.shard(network, list(decoder.body(network).layers), dtype, device)
    return network


def _checkpoint(network: Any) -> None:
    network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def parameter_counts(network: nn.Module) -> dict[str, int]:
    """For the report. Of a packed 4-bit weight its bytes are counted, not its numbers."""
    return {
        "parameters": sum(value.numel() for value in network.parameters()),
        "trained_parameters": sum(value.numel() for value in network.parameters() if value.requires_grad),
    }
