"""Pairs of texts that say the same in other words, by the cosine of their vectors.

Each text is compared with all others, so time grows with the square of their number, and beyond `MOST` it is refused.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from retune.errors import Refused

Array = np.ndarray[Any, Any]
MOST = 200_000  # texts, which take about a quarter of an hour on two cores beside the embedding
NEAREST = 16  # texts that one is joined with, at most
CHUNK = 1_024  # texts compared at once


def pairs(texts: list[str], cosine: float) -> tuple[Array, Array]:
    """The places of the texts of each pair, the lower one first."""
    if len(texts) > MOST:
        raise Refused(
            f"{len(texts):,} texts are too many to compare each with all others, as curate.near_copies.semantic asks",
            remedy=f"set it to null, or keep at most {MOST:,} rows",
        )
    from retune.models import text_vectors  # torch, which curation needs for nothing else

    parts = [*near(text_vectors.embed(texts, "auto").numpy(), cosine)] if len(texts) > 1 else []
    ones, others = zip(*parts, strict=True) if parts else ([], [])
    return np.concatenate([np.empty(0, np.int64), *ones]), np.concatenate([np.empty(0, np.int64), *others])


def near(vectors: Array, cosine: float) -> Iterator[tuple[Array, Array]]:
    """Pairs of places in `vectors`, [texts, width] of length 1, of at least so large a cosine, a part at a time."""
    count = min(NEAREST + 1, len(vectors))
    for start in range(0, len(vectors), CHUNK):
        cosines = vectors[start : start + CHUNK] @ vectors.T
        nearest = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        rows, ranks = np.nonzero(np.take_along_axis(cosines, nearest, 1) >= cosine)
        one, other = rows + start, nearest[rows, ranks]
        is_pair = one != other
        yield np.minimum(one, other)[is_pair], np.maximum(one, other)[is_pair]
