"""Attention in which rows that lie end to end do not see each other.

Registered with transformers under `NAME`; a model that is loaded with that attn_implementation takes the pack's cuts
and longest row as `cu_seq_lens_q` and `max_length_q`, the names that transformers hands on to every attention.
"""

import inspect
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.varlen import varlen_attn

NAME = "packed"
GROUPED = {"enable_gqa": True} if "enable_gqa" in inspect.signature(varlen_attn).parameters else {}


def register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, packed)
    AttentionMaskInterface.register(NAME, _no_mask)


def _no_mask(*_: Any, **__: Any) -> None:
    """The cuts say it all."""


def packed(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """query: [1, heads, tokens, width]; key, value: the same with fewer heads. Returns [1, tokens, heads, width].

    Raises ValueError for what it would get wrong in silence: a mask, dropout, or no cuts.
    """
    if attention_mask is not None or dropout or cu_seq_lens_q is None or max_length_q is None:
        raise ValueError("packed attention takes the cuts of a pack, and neither a mask nor dropout")
    if (cu_seq_lens_q.shape[0] - 1) * max_length_q == query.shape[2]:  # then none can be shorter than the longest
        return _of_like_length(query, key, value, max_length_q, scaling), None
    if query.device.type == "cpu":
        return _on_cpu(query, key, value, cu_seq_lens_q, scaling), None
    flat = [one.squeeze(0).transpose(0, 1).contiguous() for one in (query, key, value)]
    out = varlen_attn(
        *flat,
        cu_seq_lens_q,
        cu_seq_lens_q,
        max_length_q,
        max_length_q,
        scale=scaling,
        window_size=(-1, 0),
        **GROUPED,
    )
    assert isinstance(out, torch.Tensor)
    return out.unsqueeze(0), None


def _of_like_length(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, length: int, scaling: float | None
) -> torch.Tensor:
    """Rows of one length are a plain batch, and cuDNN is the fastest at those (on Hopper, by a third)."""
    rows = query.shape[2] // length
    batch = [one.view(one.shape[1], rows, length, -1).transpose(0, 1) for one in (query, key, value)]
    with sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.MATH], set_priority=True):
        out = nn.functional.scaled_dot_product_attention(*batch, is_causal=True, scale=scaling, enable_gqa=True)
    return out.transpose(1, 2).reshape(1, rows * length, query.shape[1], -1)


def _on_cpu(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cuts: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """Where there is no kernel for it: a mask that lets each row see its own earlier tokens."""
    places = torch.arange(query.shape[2])
    row = torch.bucketize(places, cuts[1:], right=True)
    seen = (row[:, None] == row[None, :]) & (places[:, None] >= places[None, :])
    out = nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=seen, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
    )
    return out.transpose(1, 2)
