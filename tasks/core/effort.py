"""What a training will take, estimated from shapes alone: steps, arithmetic, time, memory. No torch, no weights read.

Good to a factor of two, which tells a coffee from a weekend and a card that holds it from one that doesn't.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.errors import Refused

ATTAINED = 0.45  # of a machine's matrix multiplication: LoRA on an 8B Llama shape, sequences of 4,096, one H100
BYTES_TRAINED = 16  # of a trained parameter: itself, its gradient and Adam's two moments, in float32 or mixed
BYTES_4_BIT = 0.55  # of a parameter in NF4, its scales included (Dettmers et al. 2023, section 3)


@dataclass(frozen=True)
class Shape:
    """A decoder, from its config.json and the headers of its weights."""

    parameters: int
    layers: int
    width: int
    vocabulary: int
    linear: tuple[tuple[int, int], ...]  # each matrix inside the layers: out, in


@dataclass(frozen=True)
class Effort:
    trained_parameters: int
    steps: int  # of all epochs
    tokens: int  # of all epochs
    flops: float  # floating-point operations, of all epochs
    bytes: int  # of memory on the device, at the peak
    seconds: float | None  # None: nobody said how fast the machine multiplies


def shape_of(folder: Path) -> Shape:
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
        raise Refused(f"{folder / 'config.json'} has no {error}: this base is no decoder that I can measure") from None
    linear = tuple((shape[0], shape[1]) for shape in shapes if len(shape) == 2 and vocabulary not in shape)
    return Shape(sum(map(math.prod, shapes)), layers, width, vocabulary, linear)


def effort(
    shape: Shape, training: Any, tokens: int, mean_length: float, bf16: bool, flops_per_second: float | None = None
) -> Effort:
    """`tokens`: of one epoch, as trained on; `mean_length`: of a row, in tokens.

    Arithmetic of a token (Kaplan et al. 2020, section 2.1): 2 operations a parameter forward and 2 for the gradient of
    what flows through it; a trained parameter takes 2 more for its own. Attention adds 2 x layers x width x length
    forward, half of it saved by the causal mask, and twice that backward. Checkpointing repeats the forward pass, and a
    preference (Rafailov et al. 2023, section 4) asks the reference once more.
    """
    learned, batches = trained(shape, training), math.ceil(tokens / training.batch_tokens)
    inside = sum(rows * columns for rows, columns in shape.linear)
    passes = (6 if training.method == "full" else 4) + 2 * training.gradient_checkpointing
    passes += 2 * (training.method in ("dpo", "kto"))
    attention = 3 * shape.layers * shape.width * mean_length
    flops = training.epochs * tokens * (passes * inside + attention)
    return Effort(
        learned,
        training.epochs * math.ceil(batches / training.accumulate),
        training.epochs * tokens,
        float(flops),
        memory(shape, training, learned, bf16),
        flops / (ATTAINED * flops_per_second) if flops_per_second else None,
    )


def trained(shape: Shape, training: Any) -> int:
    """How many parameters the method trains."""
    if training.method == "full":
        return shape.parameters
    if training.method == "prompt":
        return int(training.prompt.virtual_tokens * shape.width)
    if training.method == "ia3":
        return sum(rows for rows, _ in shape.linear) // 2  # keys, values and the inner layer: about half the outputs
    lora = sum(training.lora.rank * (rows + columns) for rows, columns in shape.linear)
    return lora + sum(rows for rows, _ in shape.linear) * (training.method == "dora")


def memory(shape: Shape, training: Any, learned: int, bf16: bool) -> int:
    """Bytes on the device at the peak: weights, what Adam keeps, and activations; not the logits, which the fused loss
    never holds at once.

    Adam with a trained parameter takes 16 bytes (Rajbhandari et al. 2020, section 3.1). A layer keeps 34 bytes for each
    token and unit of its width in 16 bits, or 2 where it is checkpointed and one layer at a time is computed again
    (Korthikanti et al. 2022, equations 2 and 5, without the attention scores, which a fused kernel doesn't keep).
    """
    each = BYTES_4_BIT if training.method == "qlora" else 2 if bf16 else 4
    weights = shape.parameters * (0 if training.method == "full" else each) + learned * BYTES_TRAINED
    unit = training.batch_tokens * shape.width * (1 if bf16 else 2)
    kept = 34 + 2 * shape.layers if training.gradient_checkpointing else 34 * shape.layers
    return int(weights + unit * kept)
