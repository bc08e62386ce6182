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

ADAPTERS = {"lora": "lora", "dora": "lora", "qlora": "qlora", "ia3": "ia3", "prompt": "prompt"}  # method -> kind
FIRST = "default"  # what PEFT calls the adapter that a network was loaded with
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
    adapter: str | None = None  # which one, where several share the network

    def predict(
        self, texts: Sequence[str], batch_size: int = 8, max_new_tokens: int | None = None
    ) -> classifier.Predictions:
        """The greedy answer to each prompt: plain text, or messages as a row stores them.

        The confidence is exp of the mean log-probability of the answer: the geometric mean over its tokens.
        """
        limit = max_new_tokens or self.manifest.max_new_tokens
        prompts = [self._prompt(text, limit) for text in texts]
        answers: list[list[int]] = [[] for _ in prompts]
        order = sorted(range(len(prompts)), key=lambda row: (len(prompts[row]), row))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = self.generate([prompts[row] for row in rows], limit)
            for row, answer in zip(rows, batch, strict=True):
                answers[row] = answer
        likelihood = self.likelihood_of(prompts, answers, batch_size)
        return classifier.Predictions([self.decode(answer) for answer in answers], likelihood.mean, likelihood.tokens)

    def generate(
        self, prompts: Sequence[list[int]], max_new_tokens: int, on_step: generation.OnStep | None = None
    ) -> list[list[int]]:
        """`generation.generate`, up to the end of sequence of this model."""
        self._use_adapter()
        return generation.generate(self.network, prompts, int(self.tokenizer.eos_token_id), max_new_tokens, on_step)

    def decode(self, answer: list[int]) -> str:
        text: str = self.tokenizer.decode(answer, skip_special_tokens=True)
        return text

    def likelihood_of(
        self, prompts: Sequence[list[int]], answers: Sequence[list[int]], batch_size: int = 8
    ) -> Likelihood:
        pairs = zip(prompts, answers, strict=True)
        return self.likelihood([TokenizedExample(prompt + answer, len(prompt)) for prompt, answer in pairs], batch_size)

    def likelihood(self, rows: Sequence[TokenizedExample], batch_size: int = 8) -> Likelihood:
        self._use_adapter()
        return generation.likelihood(self.network, rows, batch_size)

    def reproduced(self, rows: Sequence[TokenizedExample], batch_size: int = 8) -> list[np.ndarray]:
        self._use_adapter()
        return generation.reproduced(self.network, rows, batch_size)

    def _use_adapter(self) -> None:
        if self.adapter is not None:
            decoder.use_adapter(self.network, self.adapter)

    def truncated(self, texts: Sequence[str]) -> list[TruncatedPrompt]:
        """The prompts that are longer than the model's limit."""
        limit = self.manifest.prompt_limit
        lengths = [len(encode(self.tokenizer, text)) for text in texts]
        return [TruncatedPrompt(row, length, limit) for row, length in enumerate(lengths) if length > limit]

    def _prompt(self, text: str, max_new_tokens: int) -> list[int]:
        limit = max(1, self.manifest.max_tokens - max_new_tokens)
        return encode(self.tokenizer, text)[-limit:]  # cut from the left, as in training


def encode(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a prompt, plain or messages as a row stores them. Raises Refused if the template does not fit."""
    conversation = messages.parse(text) or [{"role": "user", "content": text}]
    return chat_template.encode(tokenizer, chat_template.prompt_text(tokenizer, conversation))


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


def load_beside(folder: Path, other: CausalLM, adapter: str) -> CausalLM:
    """The model of a folder on the base of another one, which is in memory once. `shares_base` says where that can be.

    adapter: a name that no other model on this base has.
    """
    decoder.add_adapter_beside(other.network, folder / "adapter", adapter)
    return CausalLM(read_causal_lm(folder), chat_template.load(folder / "tokenizer"), other.network, adapter)


def shares_base(one: CausalLMManifest, other: CausalLMManifest) -> bool:
    """Whether two models may be adapters of one network: of the same base, and of a kind that PEFT mixes."""
    kinds = [ADAPTERS.get(each.method) for each in (one, other)]
    bases = {(each.base_name, each.base_sha256) for each in (one, other)}
    return kinds[0] is not None and kinds[0] == kinds[1] and len(bases) == 1


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
    adapter = None if manifest.method == "full" or dropout is not None else FIRST
    return CausalLM(manifest, tokenizer, network.train(dropout is not None), adapter)


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
    model.network, model.adapter = model.network.merge_and_unload(), None  # type: ignore[operator]
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
