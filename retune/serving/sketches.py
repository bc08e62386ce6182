"""A short stand-in for the vector of a text: enough to see that texts have moved, too little to say what they said.

A random projection to 32 numbers keeps distances between vectors within some 20% (Johnson and Lindenstrauss 1984;
Achlioptas 2003), and takes 64 bytes a text. The seed is fixed: sketches of all times and machines can be compared.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

WIDTH = 32
SEED = 20


def sketch(vectors: npt.ArrayLike) -> np.ndarray:
    """[n, width] or [width] -> [n, 32] or [32], float16."""
    array = np.asarray(vectors, dtype=np.float32)
    return np.asarray(array @ _projection(array.shape[-1]), dtype=np.float16)


def as_bytes(vector: npt.ArrayLike | None) -> bytes | None:
    """The sketch of one vector, little-endian; None without one, or where it holds what is no number."""
    if vector is None or not np.isfinite(short := sketch(vector)).all():
        return None
    return short.astype("<f2").tobytes()


def from_bytes(rows: list[bytes]) -> np.ndarray:
    """[n, 32], float32."""
    return np.frombuffer(b"".join(rows), dtype="<f2").reshape(len(rows), WIDTH).astype(np.float32)


@cache
def _projection(width: int) -> np.ndarray:
    draw = np.random.default_rng(SEED)
    return np.asarray(draw.standard_normal((width, WIDTH)) / np.sqrt(WIDTH), dtype=np.float32)
