"""What a training will take, beside what was counted and measured."""

from dataclasses import replace

import pytest

from retune.config.generation import Parallel
from retune.errors import Refused
from retune.preflight import compute_estimate
from tests.support.decoder_shapes import LLAMA_1B, LLAMA_8B, DecoderTraining, Lora

SMALL = DecoderTraining(batch_tokens=1000, accumulate=2)
WHOLE_IN_TWO = {"compile": True, "gradient_checkpointing": True, "parallel": Parallel(2, 1, "fsdp")}
LLAMAS = {"8b": LLAMA_8B, "1b": LLAMA_1B}


def test_the_shape_of_a_base_is_read_from_its_headers(tiny_causal_lm):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_causal_lm)
    shape = compute_estimate.shape_of(tiny_causal_lm)
    assert shape.parameters == sum(each.numel() for each in model.parameters())
    assert (shape.layers, shape.width, len(shape.linear)) == (2, 64, 14)


def test_steps_count_batches_of_tokens_and_memory_and_time_grow_with_what_is_trained(tiny_causal_lm):
    shape = compute_estimate.shape_of(tiny_causal_lm)
    lora = compute_estimate.estimate(shape, SMALL, 10_500, 50.0, bf16=False, flops_per_second=1e9)
    assert (lora.steps, lora.tokens) == (2 * 6, 21_000)  # 11 batches, two a step
    assert lora.trained_parameters == sum(16 * (rows + columns) for rows, columns in shape.linear)
    full = compute_estimate.estimate(
        shape, replace(SMALL, method="full"), 10_500, 50.0, bf16=False, flops_per_second=1e9
    )
    assert full.trained_parameters == shape.parameters
    assert lora.flops < full.flops and lora.seconds < full.seconds
    assert compute_estimate.estimate(shape, SMALL, 10_500, 50.0, bf16=False).seconds is None
    less = compute_estimate.estimate(shape, replace(SMALL, gradient_checkpointing=True), 10_500, 50.0, bf16=False)
    assert less.bytes < lora.bytes and less.flops > lora.flops


def test_an_8b_llama_with_lora_takes_the_time_that_was_measured_on_an_h100():
    """Rank 16, 4,096 tokens a batch, no checkpointing: 13,720 tokens/s, 441 TFLOP/s without attention."""
    config = DecoderTraining(epochs=1, batch_tokens=4096, accumulate=1)
    estimate = compute_estimate.estimate(LLAMAS["8b"], config, 13_720, 4096.0, bf16=True, flops_per_second=989e12)
    assert 0.5 < estimate.seconds < 2


@pytest.mark.parametrize(
    ("base", "changes", "measured"),
    [
        ("1b", {"method": "full", "batch_tokens": 8192}, 36.11),
        ("1b", {"method": "full", "batch_tokens": 8192, "gradient_checkpointing": True}, 21.34),
        ("1b", {"batch_tokens": 16384}, 31.49),
        ("8b", {"batch_tokens": 4096}, 41.46),
        ("8b", {"batch_tokens": 8192}, 66.32),
        ("8b", {"batch_tokens": 8192, "compile": True}, 55.39),
        ("8b", {"batch_tokens": 8192, "gradient_checkpointing": True}, 20.74),
        ("8b", {"batch_tokens": 8192, "gradient_checkpointing": True, "lora": Lora(base_precision="fp8")}, 20.75),
        ("8b", {"method": "full", "batch_tokens": 8192, **WHOLE_IN_TWO}, 69.5),
    ],
)
def test_memory_is_what_was_measured_on_an_h100(base, changes, measured):
    """GiB at the peak of two steps, torch.cuda.max_memory_allocated, rows of 4,096 tokens, 2026-11-25."""
    estimate = compute_estimate.memory(LLAMAS[base], replace(SMALL, **changes), bf16=True)
    assert estimate.peak / 2**30 == pytest.approx(measured, rel=0.15)
    assert estimate.certain < measured * 2**30


def test_weights_take_what_their_method_keeps_them_in():
    shape = LLAMAS["8b"]
    adapter = compute_estimate.trained(shape, SMALL) * 16
    inside = sum(rows * columns for rows, columns in shape.linear)

    def weights(method, bf16=True, start=None, **changes):
        return compute_estimate.memory(shape, replace(SMALL, method=method, **changes), bf16, start).certain - adapter

    assert weights("lora") == weights("lora", lora=Lora(base_precision="fp8")) == weights("dpo") == 2 * shape.parameters
    assert weights("lora", bf16=False) == weights("dpo", start="full") == 4 * shape.parameters
    assert weights("qlora") == weights("dpo", start="qlora")
    assert 0.5 * inside < weights("qlora") - 2 * (shape.parameters - inside) < 0.55 * inside
    assert compute_estimate.memory(shape, replace(SMALL, method="full"), bf16=True).certain == 16 * shape.parameters


def test_the_logits_that_are_counted_are_those_that_are_held_at_once():
    from tasks.train.decoder import losses

    assert compute_estimate.LOGITS_AT_ONCE == losses.CHUNK


def test_a_base_that_is_no_decoder_is_refused_in_words(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "odd"}')
    with pytest.raises(Refused, match="not a decoder of a known shape"):
        compute_estimate.shape_of(tmp_path)
