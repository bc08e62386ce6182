"""A causal language model: how its model folder is saved and loaded, and how it predicts.

A model folder holds safetensors and JSON, never a pickle:

    model.json            task, method, base, lengths, template
    tokenizer/            as transformers writes it, with the chosen chat template
    decoder/              method full: the whole tuned network
    adapter/              other methods: the adapter in PEFT's format, which vLLM reads too, for the base that
                          model.json names

The network is in `retune.models.decoder`, answers and likelihoods in `retune.models.generation`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from retune.data import messages
from retune.errors import Refused
from retune.models import chat_template, classifier, decoder, generation
from retune.models.chat_template import TokenizedExample
from retune.models.generation import Likelihood
from retune.models.manifest import CausalLMManifest, read_causal_lm, write

MERGED = 4.0  # times the difference that rounding alone makes between the logits of one network


@dataclass(frozen=True)
class TruncatedPrompt:
    """A prompt whose beginning was cut."""

    row: int
    tokens: int
    tokens_read: int  # the last of them, which the model reads


@dataclass
class CausalLM:
    """A loaded model folder: generates answers and computes their likelihood."""

    manifest: CausalLMManifest
    tokenizer: Any
    network: nn.Module

    def predict(
        self, texts: Sequence[str], batch_size: int = 8, max_new_tokens: int | None = None
    ) -> classifier.Predictions:
        """The greedy answer to each prompt: plain text, or messages as a row stores them.

        The confidence is exp of the mean log-probability of the answer: the geometric mean over its tokens.
        """
        limit = max_new_tokens or self.manifest.max_new_tokens
        end = int(self.tokenizer.eos_token_id)
        prompts = [self._prompt(text, limit) for text in texts]
        answers: list[list[int]] = [[] for _ in prompts]
        order = sorted(range(len(prompts)), key=lambda row: (len(prompts[row]), row))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = generation.generate(self.network, [prompts[row] for row in rows], end, limit)
            for row, answer in zip(rows, batch, strict=True):
                answers[row] = answer
        examples = [
            TokenizedExample(prompt + answer, len(prompt)) for prompt, answer in zip(prompts, answers, strict=True)
        ]
        likelihood = self.likelihood(examples, batch_size)
        confidence = np.exp(-likelihood.nll / np.maximum(likelihood.tokens, 1))
        texts = [self.tokenizer.decode(answer, skip_special_tokens=True) for answer in answers]
        return classifier.Predictions(texts, confidence, likelihood.tokens)

    def likelihood(self, rows: Sequence[TokenizedExample], batch_size: int = 8) -> Likelihood:
        return generation.likelihood(self.network, rows, batch_size)

    def truncated(self, texts: Sequence[str]) -> list[TruncatedPrompt]:
        """The prompts that are longer than the model's limit."""
        limit = self._prompt_limit(self.manifest.max_new_tokens)
        lengths = [len(self._encode(text)) for text in texts]
        return [TruncatedPrompt(row, length, limit) for row, length in enumerate(lengths) if length > limit]

    def _prompt_limit(self, max_new_tokens: int) -> int:
        """The largest number of prompt tokens that leaves room for the answer."""
        return max(1, self.manifest.max_tokens - max_new_tokens)

    def _prompt(self, text: str, max_new_tokens: int) -> list[int]:
        return self._encode(text)[-self._prompt_limit(max_new_tokens) :]  # cut from the left, as in training

    def _encode(self, text: str) -> list[int]:
        conversation = messages.parse(text) or [{"role": "user", "content": text}]
        return chat_template.encode(self.tokenizer, chat_template.prompt_text(self.tokenizer, conversation))


def save(folder: Path, manifest: CausalLMManifest, tokenizer: Any, network: Any) -> None:
    """Write a model folder; the same weights always give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    classifier.save_tokenizer(tokenizer, folder / "tokenizer")
    if manifest.method == "full":
        network.save_pretrained(folder / "decoder")
    else:
        classifier.save_adapter(network, folder / "adapter")
    write(manifest, folder)


def load(folder: Path, device: str = "auto") -> CausalLM:
    """The model of a folder, ready to answer."""
    return _load(folder, device)


def load_base_model(folder: Path, device: str = "auto") -> CausalLM:
    """The untouched base of a model folder, with the same template."""
    manifest, place = read_causal_lm(folder), classifier.pick_device(device)
    _, network = decoder.load_base(manifest.base_name, manifest.base_sha256, "auto", place)
    return CausalLM(manifest, chat_template.load(folder / "tokenizer"), network.eval())


def load_to_train(folder: Path, device: str, precision: str, dropout: float) -> CausalLM:
    """The model of a folder, to continue the training of its LoRA adapter with this dropout."""
    return _load(folder, device, precision, dropout)


def _load(folder: Path, device: str, precision: str = "auto", dropout: float | None = None) -> CausalLM:
    """`dropout`: of the adapter, for training; None: only for prediction."""
    manifest, place = read_causal_lm(folder), classifier.pick_device(device)
    tokenizer = chat_template.load(folder / "tokenizer")
    if manifest.method == "full":
        network = decoder.load_network(folder / "decoder", decoder.weight_dtype(precision, place), place)
    else:
        name, sha256 = manifest.base_name, manifest.base_sha256
        _, network = decoder.load_base(name, sha256, precision, place, manifest.method == "qlora")
        network = decoder.load_adapter(network, folder / "adapter", name, dropout)
    return CausalLM(manifest, tokenizer, network.train(dropout is not None))


@torch.inference_mode()
def merge(model: CausalLM, rows: Sequence[TokenizedExample]) -> tuple[float, float]:
    """Merge the adapter into the weights, as some servers need it.

    Returns how far the logits of `rows` moved, and how far the logits of packed rows differ from those of single rows
    in this network: both as a share of the largest logit. Nothing moves without an adapter to merge (method full or
    prompt tuning).
    Raises Refused if they moved more than MERGED times the second value, and by more than SAME_FP32.
    """
    if model.manifest.method in ("full", "prompt"):
        return 0.0, 0.0
    before, separate = decoder.packed_logits(model.network, rows), decoder.separate_logits(model.network, rows)
    model.network = model.network.merge_and_unload()  # type: ignore[operator]
    largest = float(before.abs().max())
    moved = float((before - decoder.packed_logits(model.network, rows)).abs().max()) / largest
    apart = float((before - separate).abs().max()) / largest
    if not moved <= max(MERGED * apart, decoder.SAME_FP32):
        raise Refused(
            f"the adapter gives other logits when merged into its base: they move by {moved:.2g} of the largest, two "
            f"ways to the same logits are {apart:.2g} apart. The base may have too few bits for it: see "
            "train.precision and train.method"
        )
    return moved, apart
