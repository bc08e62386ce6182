"""What is asked before a decoder training costs time: params that go together, memory that suffices."""

import torch

from retune.config.generation import InstructTrain, PreferTrain
from retune.errors import Refused, WrongUse
from retune.models import base_model, decoder
from retune.preflight import compute_estimate, memory_check
from retune.system.free_memory import AvailableMemory


def check_strategy(config: InstructTrain | PreferTrain) -> None:
    """Raises WrongUse for a base in 8 bits whose weights would be sharded."""
    if config.parallel.strategy == "fsdp" and config.lora.base_precision == "fp8":
        raise WrongUse(
            "train.parallel.strategy is fsdp, and train.lora.base_precision fp8: weights in 8 bits are not sharded; "
            "write train.lora.base_precision: bf16, or strategy: ddp"
        )


def check_memory(
    config: InstructTrain | PreferTrain,
    device: torch.device,
    available: AvailableMemory,
    parent_method: str | None = None,
) -> None:
    """Raises Refused where weights, gradients and Adam's moments alone exceed the free memory; where only the estimate
    of the whole does, prints a warning. `parent_method`: of the version that preferences are learned on.
    """
    cuda, bf16 = device.type == "cuda", decoder.weight_dtype(config.precision, device) == torch.bfloat16
    try:
        shape = compute_estimate.shape_of(base_model.find(config.base.name))
    except Refused as error:  # the training may work all the same
        print(f"warning: it is unknown whether the training fits into memory: {error}", flush=True)
        return
    result = memory_check.check_memory(shape, config, bf16, available, cuda, parent_method)
    if result.verdict == "too large":
        raise Refused(result.message)
    if result.verdict == "tight":
        print(f"warning: {result.message}", flush=True)


def unusual_rate(section: str, method: str, rate: float, usual: tuple[float, float]) -> list[str]:
    """A warning if the learning rate of `section` is outside the range that usually works for the method."""
    low, high = usual
    if low <= rate <= high:
        return []
    return [f"train.{section}.learning_rate is {rate:g}; usual for method {method} is {low:g} to {high:g}"]
