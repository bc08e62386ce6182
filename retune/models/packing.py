"""Packing: a batch holds whole rows end to end, up to a budget of tokens and without padding between them.

A row attends only to itself (`retune.models.attention`) and starts at position 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from retune.models.chat_template import TokenizedExample

MAX_OPEN = 8  # open batches at a time
FILLER = 0  # a token of every vocabulary; it is not supervised, and no row attends to it


@dataclass(frozen=True)
class PackedBatch:
    """One batch on a device."""

    input_ids: torch.Tensor  # [1, tokens]
    position_ids: torch.Tensor  # [1, tokens], from 0 in each row
    cu_seqlens: torch.Tensor  # [rows + 1], the beginning of each row; then the end of the last, repeated
    max_seqlen: int  # an upper bound on the length of a row
    supervised: torch.Tensor  # [targets], the positions in `input_ids` whose next token is supervised
    targets: torch.Tensor  # [targets], those next tokens


@dataclass(frozen=True)
class BatchShape:
    """The common shape of all batches of a run."""

    tokens: int
    rows: int  # at most, with padding
    max_seqlen: int


def pack_first_fit(lengths: Sequence[int], budget: int, order: Sequence[int]) -> list[list[int]]:
    """Cut `order`, row numbers, into batches of at most `budget` tokens: first fit, which wastes few tokens.

    Closes the fullest batch past MAX_OPEN open ones, so that a batch stays a random draw. Raises ValueError for a row
    that is longer than the budget.
    """
    closed: list[list[int]] = []
    open_batches: list[tuple[int, list[int]]] = []  # free tokens, rows
    for row in order:
        if lengths[row] > budget:
            raise ValueError(f"row {row} has {lengths[row]} tokens, a batch holds {budget}")
        for place, (free, rows) in enumerate(open_batches):
            if lengths[row] <= free:
                rows.append(row)
                open_batches[place] = (free - lengths[row], rows)
                break
        else:
            open_batches.append((budget - lengths[row], [row]))
            if len(open_batches) > MAX_OPEN:
                fullest = min(range(len(open_batches)), key=lambda place: open_batches[place][0])
                closed.append(open_batches.pop(fullest)[1])
    return closed + [rows for _, rows in open_batches]


def shape(lengths: Sequence[int], batches: Sequence[Sequence[int]], budget: int) -> BatchShape:
    """One shape for all these batches of row numbers, so that the network compiles once."""
    longest = max(lengths[row] for batch in batches for row in batch)
    sizes = [sum(lengths[row] for row in batch) for batch in batches]
    rows = max(len(batch) + -(-(budget - size) // longest) for batch, size in zip(batches, sizes, strict=True))
    return BatchShape(budget, rows, longest)


def pack(rows: Sequence[TokenizedExample], device: torch.device, shape: BatchShape | None = None) -> PackedBatch:
    """`rows` in one batch. Rows without supervised tokens fill the rest of `shape`."""
    input_ids: list[int] = []
    position_ids: list[int] = []
    supervised: list[int] = []
    targets: list[int] = []
    cu_seqlens = [0]
    for row in rows:
        for first, end in row.spans:
            supervised += range(len(input_ids) + first - 1, len(input_ids) + end - 1)
            targets += row.tokens[first:end]
        input_ids += row.tokens
        position_ids += range(len(row.tokens))
        cu_seqlens.append(len(input_ids))
    max_seqlen = max(len(row.tokens) for row in rows)
    if shape:
        max_seqlen = shape.max_seqlen
        while free := shape.tokens - len(input_ids):
            length = min(free, max_seqlen)
            input_ids += [FILLER] * length
            position_ids += range(length)
            cu_seqlens.append(len(input_ids))
        cu_seqlens += [shape.tokens] * (shape.rows + 1 - len(cu_seqlens))
    return PackedBatch(
        _tensor([input_ids], torch.long, device),
        _tensor([position_ids], torch.long, device),
        _tensor(cu_seqlens, torch.int32, device),
        max_seqlen,
        _tensor(supervised, torch.long, device),
        _tensor(targets, torch.long, device),
    )


def supervised(row: TokenizedExample) -> int:
    """The number of supervised tokens of a row."""
    return sum(end - first for first, end in row.spans)


def longest_answer(row: TokenizedExample) -> int:
    """The tokens of its longest supervised answer."""
    return max((end - first for first, end in row.spans), default=0)


def _tensor(values: list[int] | list[list[int]], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    tensor = torch.tensor(values, dtype=dtype)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
