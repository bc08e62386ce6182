"""The cost of a training, estimated from shapes: steps, arithmetic, time, memory. Without torch or the weights.

Accurate to a factor of two, enough to tell minutes from days and a GPU that fits from one that does not. The estimate
may prevent a training but never changes a result, so no stage depends on this module.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retune.errors import Refused

ATTAINED = 0.45  # share of a machine's peak: LoRA on an 8B Llama shape, sequences of 4,096, one H100
BYTES_TRAINED = 16  # per trained parameter: itself, its gradient and Adam's two moments, in float32 or mixed
BYTES_4_BIT = 0.516  # per parameter in NF4 with double quantisation (Dettmers et al. 2023, section 3)
# Activations per token, layer and unit of width in 16 bits, for the backward pass: measured on an H100, Llama shapes of
# 1B and 8B (decision 0076). Korthikanti et al. 2022, equation 2, count 34 for the layer of 2019.
KEPT, KEPT_COMPILED = 50, 39
LOGITS_AT_ONCE = 4096  # tokens
PREFERENCES = ("dpo", "kto")


@dataclass(frozen=True)
class ModelShape:
    """A decoder, from its config.json and the headers of its weights."""

    parameters: int
    layers: int
    width: int
    vocabulary: int
    linear: tuple[tuple[int, int], ...]  # each matrix inside the layers: out, in


@dataclass(frozen=True)
class Memory:
    """Bytes on the device."""

    certain: int  # at every step and for any batch: weights, gradients, Adam's moments
    peak: int  # the estimate


@dataclass(frozen=True)
class ComputeEstimate:
    trained_parameters: int
    steps: int  # of all epochs
    tokens: int  # of all epochs
    flops: float  # floating-point operations, of all epochs
    bytes: int  # of memory on the device, at the peak
    certain_bytes: int  # of those, without activations
    seconds: float | None  # None if the speed of the machine is unknown


def shape_of(folder: Path) -> ModelShape:
    """The shape of the base in `folder`."""
    from safetensors import safe_open

    config = json.loads((folder / "config.json").read_text("utf-8"))
    shapes = []
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "np") as weights:
            shapes += [tuple(weights.get_slice(name).get_shape()) for name in weights.keys()]  # noqa: SIM118
    try:
        layers, width = (
            config.get(new) or config[old] for new, old in (("num_hidden_layers", "n_layer"), ("hidden_size", "n_embd"))
        )
        vocabulary = config["vocab_size"]
    except KeyError as error:
        raise Refused(
            f"{folder / 'config.json'} has no {error}: not a decoder of a known shape. Use one such as Llama"
        ) from None
    linear = tuple((shape[0], shape[1]) for shape in shapes if len(shape) == 2 and vocabulary not in shape)
    return ModelShape(sum(map(math.prod, shapes)), layers, width, vocabulary, linear)


def estimate(
    shape: ModelShape,
    training: Any,
    tokens: int,
    mean_length: float,
    bf16: bool,
    flops_per_second: float | None = None,
    start: str | None = None,
) -> ComputeEstimate:
    """`tokens`: of one epoch, as trained on; `mean_length`: of a row, in tokens; `start`: as in `memory`.

    Arithmetic of a token (Kaplan et al. 2020, section 2.1): 2 operations a parameter forward and 2 for the gradient of
    what flows through it; a trained parameter takes 2 more for its own. Attention adds 2 x layers x width x length
    forward, half of it saved by the causal mask, and twice that backward. Checkpointing repeats the forward pass, and a
    preference (Rafailov et al. 2023, section 4) asks the reference once more.
    """
    learned, batches = trained(shape, training), math.ceil(tokens / training.batch_tokens)
    inside = sum(rows * columns for rows, columns in shape.linear)
    passes = (6 if training.method == "full" else 4) + 2 * training.gradient_checkpointing
    passes += 2 * (training.method in PREFERENCES)
    attention = 3 * shape.layers * shape.width * mean_length
    flops = training.epochs * tokens * (passes * inside + attention)
    memory_needed = memory(shape, training, bf16, start)
    return ComputeEstimate(
        learned,
        training.epochs * math.ceil(batches / training.accumulate),
        training.epochs * tokens,
        float(flops),
        memory_needed.peak,
        memory_needed.certain,
        flops / (ATTAINED * flops_per_second) if flops_per_second else None,
    )


def trained(shape: ModelShape, training: Any) -> int:
    """The number of parameters that the method trains."""
    if training.method == "full":
        return shape.parameters
    if training.method == "prompt":
        return int(training.prompt.virtual_tokens * shape.width)
    if training.method == "ia3":
        return sum(rows for rows, _ in shape.linear) // 2  # keys, values and the inner layer: about half the outputs
    lora = sum(int(training.lora.rank) * (rows + columns) for rows, columns in shape.linear)
    magnitudes = sum(rows for rows, _ in shape.linear) if training.method == "dora" else 0
    return lora + magnitudes


def memory(shape: ModelShape, training: Any, bf16: bool, start: str | None = None) -> Memory:
    """`start`: the method of the version that preferences are learned on, if known.

    Adam with a trained parameter takes 16 bytes (Rajbhandari et al. 2020, section 3.1); under bf16 a whole network is
    cast again for each step. A base in 8 bits is stored in both layouts: 2 bytes, as in 16 bits. A checkpointed layer
    stores only its input, and one layer at a time is computed again (Korthikanti et al. 2022, equation 5). The
    logits are in memory for some thousand tokens at a time. Under FSDP2 a device holds its part of the weights, but the
    whole adapter.
    """
    parts, whole = _parts(training), training.method == "full"
    learned = trained(shape, training) * BYTES_TRAINED / (parts if whole else 1)
    certain = _frozen(shape, training, bf16, start) / parts + learned
    unit = training.batch_tokens * shape.width * (1 if bf16 else 2)
    a_layer = KEPT_COMPILED if training.compile and bf16 else KEPT
    activations = a_layer + 2 * shape.layers if training.gradient_checkpointing else a_layer * shape.layers
    fused = bf16 and training.method not in PREFERENCES  # tokens per pass over the logits and their gradient
    logits = min(training.batch_tokens, LOGITS_AT_ONCE) * shape.vocabulary * (4 if fused else 16)
    inside = sum(rows * columns for rows, columns in shape.linear)
    cast = 2 * (shape.parameters - (inside if parts > 1 else 0)) * (whole and bf16)  # sharded: one layer at a time
    return Memory(int(certain), int(certain + unit * activations + logits + cast))


def _parts(training: Any) -> int:
    spread = training.parallel
    return int(spread.processes * spread.hosts) if spread.strategy == "fsdp" else 1


def _frozen(shape: ModelShape, training: Any, bf16: bool, start: str | None) -> float:
    """Bytes of the frozen weights."""
    inside = sum(rows * columns for rows, columns in shape.linear)
    if training.method == "full":
        return 0.0
    if start == "full":  # float32, as in training
        return 4.0 * shape.parameters
    if "qlora" in (training.method, start):
        return BYTES_4_BIT * inside + 2 * (shape.parameters - inside)
    return (2.0 if bf16 else 4.0) * shape.parameters
