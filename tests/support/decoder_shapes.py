"""Shapes of Llama 3, and the parameters that an estimate of its training reads."""

from dataclasses import dataclass

from retune.config.generation import Parallel
from retune.preflight.compute_estimate import ModelShape

ALONE = Parallel(1, 1, "ddp")


@dataclass(frozen=True)
class Lora:
    rank: int = 16
    base_precision: str = "bf16"


@dataclass(frozen=True)
class DecoderTraining:
    method: str = "lora"
    precision: str = "auto"
    max_tokens: int = 1024
    epochs: int = 2
    batch_tokens: int = 8192
    accumulate: int = 3
    gradient_checkpointing: bool = False
    compile: bool = False
    lora: Lora = Lora()
    parallel: Parallel = ALONE


def llama(layers, width, inner, keys, vocabulary=128_256, heads=2):
    """The shape of Llama 3; `heads`: matrices of [vocabulary, width]."""
    layer = [
        (width, width),
        (keys, width),
        (keys, width),
        (width, width),
        (inner, width),
        (inner, width),
        (width, inner),
    ]
    linear = tuple(layer * layers)
    inside = sum(rows * columns for rows, columns in linear)
    norms = (2 * layers + 1) * width
    return ModelShape(inside + norms + heads * vocabulary * width, layers, width, vocabulary, linear)


LLAMA_8B = llama(32, 4096, 14336, 1024)
LLAMA_1B = llama(16, 2048, 8192, 512, heads=1)
