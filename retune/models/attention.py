"""Attention over packed rows that do not attend to each other.

`retune.models.causal_lm` registers it with transformers under `NAME`; a network with that attn_implementation takes a
pack's cuts and longest row as `cu_seq_lens_q` and `max_length_q`, the names that transformers hands to every layer.
"""

import inspect
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.varlen import varlen_attn

NAME = "packed"
# Before torch 2.13 it accepts fewer heads of key and value without an argument for it.
GROUPED: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in inspect.signature(varlen_attn).parameters else {}


def no_mask(*_: Any, **__: Any) -> None:
    """No mask: the cuts bound the rows."""


def packed(  # noqa: PLR0913 - transformers hands these over, by these names
    _module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """query: [1, heads, tokens, width]; key, value: the same with fewer heads. Returns [1, tokens, heads, width].

    Raises ValueError for features that it would silently compute wrong.
    """
    if attention_mask is not None or dropout or cu_seq_lens_q is None or max_length_q is None:
        raise ValueError("packed attention takes the cuts of a pack, without a mask or dropout")
    if softcap is not None or s_aux is not None or (sliding_window is not None and sliding_window < max_length_q):
        raise ValueError(
            "packed attention supports no soft caps, sinks or windows shorter than a row: lower max_tokens to the "
            "window, or use another base"
        )
    if (cu_seq_lens_q.shape[0] - 1) * max_length_q == query.shape[2]:  # then all rows have the length of the longest
        return _of_like_length(query, key, value, max_length_q, scaling), None
    if query.device.type == "cpu" or query.dtype == torch.float32:
        return _row_by_row(query, key, value, cu_seq_lens_q, scaling), None
    queries, keys, values = (one.squeeze(0).transpose(0, 1).contiguous() for one in (query, key, value))
    out = varlen_attn(
        queries,
        keys,
        values,
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
    """Rows of equal length form a plain batch, which cuDNN computes fastest (on Hopper, by a third)."""
    rows = query.shape[2] // length
    queries, keys, values = (one.view(one.shape[1], rows, length, -1).transpose(0, 1) for one in (query, key, value))
    with sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.MATH], set_priority=True):
        out = nn.functional.scaled_dot_product_attention(
            queries, keys, values, is_causal=True, scale=scaling, enable_gqa=True
        )
    return out.transpose(1, 2).reshape(1, rows * length, query.shape[1], -1)


def _row_by_row(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cuts: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """Without a kernel for packed rows: on the CPU, and in float32.

    One mask over the whole pack would cost the square of its tokens.
    """
    rows = []
    for begin, end in pairwise(cuts.tolist()):
        if begin < end:
            queries, keys, values = (one[:, :, begin:end] for one in (query, key, value))
            rows.append(
                nn.functional.scaled_dot_product_attention(
                    queries, keys, values, is_causal=True, scale=scaling, enable_gqa=True
                )
            )
    return torch.cat(rows, dim=2).transpose(1, 2)
