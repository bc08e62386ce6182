"""Params of a training of seconds for models that write."""

from dataclasses import replace

import pytest

from retune.config.common import Base, Full
from retune.config.generation import DecoderLora, InstructTrain, Parallel, PromptTuning
from retune.models.base_model import weights_sha256


@pytest.fixture(scope="session")
def decoder_config(tiny_causal_lm):
    """The train section of task instruct, with changes: `decoder_config(epochs=3)`."""
    config = InstructTrain(
        method="lora",
        base=Base(f"folder:{tiny_causal_lm}", weights_sha256(tiny_causal_lm)),
        seed=13,
        device="cpu",
        precision="fp32",
        deterministic=True,
        template="chatml",
        max_tokens=128,
        too_long="drop",
        turns="last",
        replay_share=0.0,
        full=Full(3e-3),
        lora=DecoderLora(1e-2, 8, 16, 0.0, False, "bf16"),
        ia3=Full(5e-2),
        prompt=PromptTuning(1e-1, 4),
        epochs=2,
        batch_tokens=256,
        accumulate=2,
        schedule="cosine",
        warmup_share=0.1,
        weight_decay=0.01,
        max_grad_norm=1.0,
        neftune_alpha=0.0,
        patience=2,
        refit=False,
        gradient_checkpointing=False,
        checkpoint_seconds=0.0,
        compile=True,
        parallel=Parallel(1, 1, "ddp"),
    )
    return lambda **changes: replace(config, **changes)
