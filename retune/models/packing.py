"""Rows laid end to end: a batch holds whole rows up to a budget of tokens, and no token of padding between them.

A row attends to itself alone, whatever lies beside it (`retune.models.attention`), and starts at position 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from retune.models.chat_template import TokenizedExample

OPEN = 8  # batches that are being filled at once
FILLER = 0  # a token that is in every vocabulary; nothing is learned from it and nothing sees it


@dataclass(frozen=True)
class PackedBatch:
    """One batch on a device."""

    ids: torch.Tensor  # [1, tokens]
    positions: torch.Tensor  # [1, tokens], from 0 in each row
    cuts: torch.Tensor  # [rows + 1], where each row begins; then the end of the last, repeated
    longest: int  # no row is longer
    where: torch.Tensor  # [supervised], the places in `ids` whose next token is supervised
    targets: torch.Tensor  # [supervised], those next tokens


@dataclass(frozen=True)
class BatchShape:
    """What all batches of a run have in common."""

    budget: int  # tokens
    rows: int  # at most, padding included
    longest: int


def pack_first_fit(lengths: Sequence[int], budget: int, order: Sequence[int]) -> list[list[int]]:
    """Cut `order`, row numbers, into batches of at most `budget` tokens: first fit, so that hardly a token is wasted.

    Open batches are few: past that the fullest is closed, so that a batch stays a random draw.
    """
    made: list[list[int]] = []
    open_batches: list[tuple[int, list[int]]] = []  # tokens left, rows
    for row in order:
        if lengths[row] > budget:
            raise ValueError(f"row {row} has {lengths[row]} tokens, a batch holds {budget}")
        for place, (left, rows) in enumerate(open_batches):
            if lengths[row] <= left:
                rows.append(row)
                open_batches[place] = (left - lengths[row], rows)
                break
        else:
            open_batches.append((budget - lengths[row], [row]))
            if len(open_batches) > OPEN:
                fullest = min(range(len(open_batches)), key=lambda place: open_batches[place][0])
                made.append(open_batches.pop(fullest)[1])
    return made + [rows for _, rows in open_batches]


def shape(lengths: Sequence[int], batches: Sequence[Sequence[int]], budget: int) -> BatchShape:
    """The one shape of all these batches, so that what is compiled for the first serves the last."""
    longest = max(lengths[row] for batch in batches for row in batch)
    taken = [sum(lengths[row] for row in batch) for batch in batches]
    rows = max(len(batch) + -(-(budget - used) // longest) for batch, used in zip(batches, taken, strict=True))
    return BatchShape(budget, rows, longest)


def pack(rows: Sequence[TokenizedExample], device: torch.device, shape: BatchShape | None = None) -> PackedBatch:
    """`rows` in one batch. What is left of the budget of `shape` is filled with rows that nothing is learned from."""
    ids: list[int] = []
    positions: list[int] = []
    where: list[int] = []
    targets: list[int] = []
    cuts = [0]
    for row in rows:
        first = max(row.prompt, 1)  # nothing comes before the first token that could say it
        where += range(len(ids) + first - 1, len(ids) + len(row.tokens) - 1)
        targets += row.tokens[first:]
        ids += row.tokens
        positions += range(len(row.tokens))
        cuts.append(len(ids))
    longest = max(len(row.tokens) for row in rows)
    if shape:
        longest = shape.longest
        while left := shape.budget - len(ids):
            step = min(left, longest)
            ids += [FILLER] * step
            positions += range(step)
            cuts.append(len(ids))
        cuts += [shape.budget] * (shape.rows + 1 - len(cuts))
    return PackedBatch(
        _on(device, [ids], torch.long),
        _on(device, [positions], torch.long),
        _on(device, cuts, torch.int32),
        longest,
        _on(device, where, torch.long),
        _on(device, targets, torch.long),
    )


def supervised(row: TokenizedExample) -> int:
    """How many tokens of a row are learned from."""
    return max(0, len(row.tokens) - max(row.prompt, 1))


def _on(device: torch.device, values: list[int] | list[list[int]], kind: torch.dtype) -> torch.Tensor:
    made = torch.tensor(values, dtype=kind)
    return made.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else made
