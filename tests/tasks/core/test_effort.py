"""What a training will take, beside what was counted and measured."""

from dataclasses import dataclass, replace

import pytest

from tasks.core import effort
from tasks.core.errors import Refused


@dataclass(frozen=True)
class Lora:
    rank: int = 16


@dataclass(frozen=True)
class Knobs:
    method: str = "lora"
    epochs: int = 2
    batch_tokens: int = 1000
    accumulate: int = 2
    gradient_checkpointing: bool = False
    lora: Lora = Lora()


def test_the_shape_of_a_base_is_read_from_its_headers(tiny_writer):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_writer)
    shape = effort.shape_of(tiny_writer)
    assert shape.parameters == sum(each.numel() for each in model.parameters())
    assert (shape.layers, shape.width, len(shape.linear)) == (2, 64, 14)


def test_steps_count_batches_of_tokens_and_memory_and_time_grow_with_what_is_trained(tiny_writer):
    shape = effort.shape_of(tiny_writer)
    lora = effort.effort(shape, Knobs(), 10_500, 50.0, bf16=False, flops_per_second=1e9)
    assert (lora.steps, lora.tokens) == (2 * 6, 21_000)  # 11 batches, two a step
    assert lora.trained_parameters == sum(16 * (rows + columns) for rows, columns in shape.linear)
    full = effort.effort(shape, Knobs(method="full"), 10_500, 50.0, bf16=False, flops_per_second=1e9)
    assert full.trained_parameters == shape.parameters
    assert lora.flops < full.flops and lora.seconds < full.seconds
    assert effort.effort(shape, Knobs(), 10_500, 50.0, bf16=False).seconds is None
    less = effort.effort(shape, replace(Knobs(), gradient_checkpointing=True), 10_500, 50.0, bf16=False)
    assert less.bytes < lora.bytes and less.flops > lora.flops


def test_an_8b_llama_with_lora_takes_what_was_measured_on_an_h100():
    """Rank 16, 4,096 tokens a batch, no checkpointing: 51.5 GiB and 13,720 tokens/s, 441 TFLOP/s without attention."""
    layer = [(4096, 4096), (1024, 4096), (1024, 4096), (4096, 4096), (14336, 4096), (14336, 4096), (4096, 14336)]
    shape = effort.Shape(8_030_261_248, 32, 4096, 128_256, tuple(layer * 32))
    knobs = Knobs(epochs=1, batch_tokens=4096, accumulate=1)
    told = effort.effort(shape, knobs, 13_720, 4096.0, bf16=True, flops_per_second=989e12)
    assert 0.5 < told.seconds < 2
    assert 25 < told.bytes / 2**30 < 103


def test_a_base_that_is_no_decoder_is_refused_in_words(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "odd"}')
    with pytest.raises(Refused, match="no decoder that I can measure"):
        effort.shape_of(tmp_path)
