"""Inference of a causal language model: greedy generation, and the likelihood of an answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from retune.models import attention, decoder
from retune.models.chat_template import TokenizedExample
from retune.models.packing import pack, supervised

CHUNK = 4096  # tokens whose logits are in memory at once
OnStep = Callable[[list[int]], list[bool]]  # [rows] the newest token of each -> whether the row ends with it
TokenMeasure = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], np.ndarray]  # as `_token_losses`


@dataclass(frozen=True)
class Likelihood:
    nll: np.ndarray  # [rows], negative log-likelihood in nats, summed over the supervised tokens
    tokens: np.ndarray  # [rows], number of supervised tokens

    @property
    def mean(self) -> np.ndarray:
        """[rows], the geometric mean of the probabilities of its supervised tokens; 1 without any."""
        mean: np.ndarray = np.exp(-self.nll / np.maximum(self.tokens, 1))
        return mean


@torch.inference_mode()
def likelihood(
    network: nn.Module, rows: Sequence[TokenizedExample], batch_size: int, precision: str = "auto"
) -> Likelihood:
    """The likelihood of the supervised tokens of each row."""
    tokens = np.array([supervised(row) for row in rows], dtype=np.int64)
    losses = _of_tokens(_token_losses, network, rows, batch_size, precision)
    return Likelihood(np.array([part.sum() for part in losses], dtype=float), tokens)


@torch.inference_mode()
def reproduced(
    network: nn.Module, rows: Sequence[TokenizedExample], batch_size: int, precision: str = "auto"
) -> list[np.ndarray]:
    """Of each row, [supervised tokens] of bool: greedy decoding writes this token after all that stand before it.

    Where all of a row are true it gives the answer back from the prompt; all from the n-th on, from n of its tokens.
    """
    return _of_tokens(_are_likeliest, network, rows, batch_size, precision)


def _of_tokens(
    measure: TokenMeasure, network: nn.Module, rows: Sequence[TokenizedExample], batch_size: int, precision: str
) -> list[np.ndarray]:
    """Of each row, [supervised tokens] the measure. Rows of similar length share a batch."""
    was_training = network.training
    network.eval()
    inputs, device = decoder.with_virtual_tokens(rows, network), decoder.head(network).device
    values, order = [np.zeros(0)] * len(rows), sorted(range(len(rows)), key=lambda row: (len(rows[row].tokens), row))
    for start in range(0, len(order), batch_size):
        numbers = order[start : start + batch_size]
        batch = pack([inputs[row] for row in numbers], device)
        with decoder.autocast(network, precision):
            hidden = decoder.hidden_states(network, batch)[batch.supervised]
            measured = measure(hidden, decoder.head(network), batch.targets)
        ends = np.cumsum([supervised(rows[row]) for row in numbers])[:-1]
        for row, part in zip(numbers, np.split(measured, ends), strict=True):
            values[row] = part
    network.train(was_training)
    return values


def _token_losses(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
    """[tokens], cross-entropy in nats. hidden: [tokens, width]; head: [vocabulary, width]; targets: [tokens]."""
    losses = [
        nn.functional.cross_entropy((part.to(head.dtype) @ head.t()).float(), target, reduction="none")
        for part, target in zip(torch.split(hidden, CHUNK), torch.split(targets, CHUNK), strict=True)
    ]
    return torch.cat(losses).double().cpu().numpy() if losses else np.zeros(0)


def _are_likeliest(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
    """[tokens] of bool. Shapes as above."""
    hits = [
        (part.to(head.dtype) @ head.t()).argmax(-1) == target
        for part, target in zip(torch.split(hidden, CHUNK), torch.split(targets, CHUNK), strict=True)
    ]
    return torch.cat(hits).cpu().numpy() if hits else np.zeros(0, dtype=bool)


@torch.inference_mode()
def generate(
    network: Any, prompts: Sequence[list[int]], end: int, max_new_tokens: int, on_step: OnStep | None = None
) -> list[list[int]]:
    """Greedy answers to prompts of token ids: up to and with the token `end`, or `max_new_tokens`.

    on_step: is shown each token, and may end a row, whose answer goes on with `end`.
    """
    from transformers import GenerationConfig

    base = decoder.below_adapter(network)
    device, virtual = decoder.device_of(base), decoder.virtual_tokens(network)
    lengths = [len(prompt) for prompt in prompts]
    padding = [max(lengths) - length for length in lengths]
    ids = torch.tensor(
        [[end] * pad_count + prompt for pad_count, prompt in zip(padding, prompts, strict=True)], device=device
    )
    mask = [[0] * pad_count + [1] * length for pad_count, length in zip(padding, lengths, strict=True)]
    attention_mask = torch.tensor(mask, device=device)
    embedded = base.get_input_embeddings()(ids)
    if virtual is not None:
        embedded, attention_mask = _prepend_virtual_tokens(embedded, attention_mask, virtual, lengths)
    greedy = GenerationConfig(do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=end, pad_token_id=end)
    # Ignore the base's published settings (temperature, penalties): evaluation measures greedy answers.
    published, base.generation_config = base.generation_config, greedy
    base.set_attn_implementation("sdpa")  # packed attention has no cache
    try:
        answers = base.generate(
            inputs_embeds=embedded,
            attention_mask=attention_mask,
            generation_config=greedy,
            stopping_criteria=[_ended_by(on_step)] if on_step else None,
        )
    finally:
        base.set_attn_implementation(attention.NAME)
        base.generation_config = published
    return [_until(answer, end) for answer in answers.tolist()]


def _ended_by(on_step: OnStep) -> Callable[..., torch.Tensor]:
    def rows_that_end(tokens: torch.Tensor, _: Any, **__: Any) -> torch.Tensor:
        """[rows] of bool. tokens: [rows, tokens so far]"""
        return torch.tensor(on_step(tokens[:, -1].tolist()), device=tokens.device)

    return rows_that_end


def _until(tokens: list[int], end: int) -> list[int]:
    return tokens[: tokens.index(end) + 1] if end in tokens else tokens


def _prepend_virtual_tokens(
    embedded: torch.Tensor, mask: torch.Tensor, virtual: torch.Tensor, lengths: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Left-padded prompts with the virtual tokens between padding and prompt, as in training.

    embedded: [rows, tokens, width]; mask: [rows, tokens]; virtual: [virtual tokens, width]; lengths: of the prompts.
    """
    count, longest = len(virtual), embedded.shape[1]
    wider = embedded.new_zeros(len(lengths), count + longest, embedded.shape[2])
    wider_mask = mask.new_zeros(len(lengths), count + longest)
    for row, length in enumerate(lengths):
        prompt = embedded[row, longest - length :]
        wider[row, longest - length :] = torch.cat([virtual.to(embedded.dtype), prompt])
        wider_mask[row, longest - length :] = 1
    return wider, wider_mask
