"""Vectors of the rows that a classifier learned from, by its frozen base: by them an answer finds its nearest rows.

    rows.safetensors    `vectors` [rows, width] float16 of length 1, and `ids`, JSON as bytes

They stand in the model folder, so they come and go with the version. A row that is forgotten later stays in them until
its version goes, as it stays in the weights; whoever shows rows asks the list of suppressed ones.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

FILE = "rows.safetensors"


@dataclass(frozen=True)
class RowVectors:
    ids: list[str]
    vectors: np.ndarray  # [rows, width] float16


def sample(ids: Sequence[str], vectors: np.ndarray, limit: int, seed: int) -> RowVectors:
    """At most `limit` of the rows, those with the smallest hash of seed and id, in their order."""
    places = list(range(len(ids)))
    if len(ids) > limit:
        hashes = [hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).digest() for name in ids]
        places = sorted(sorted(places, key=lambda place: hashes[place])[:limit])
    return RowVectors([ids[place] for place in places], vectors[places].astype(np.float16))


def write(rows: RowVectors, folder: Path) -> None:
    """Beside a model; nothing for no row. The same rows always give the same bytes."""
    if rows.ids:
        names = np.frombuffer(json.dumps(rows.ids).encode(), dtype=np.uint8)
        save_file({"ids": names, "vectors": rows.vectors}, folder / FILE)


def read(folder: Path) -> RowVectors | None:
    """None for a model folder without vectors: of an earlier release, or of a model that writes."""
    if not (folder / FILE).exists():
        return None
    values = load_file(folder / FILE)
    return RowVectors(json.loads(values["ids"].tobytes()), values["vectors"])


def nearest(rows: RowVectors, vector: np.ndarray, count: int) -> list[tuple[str, float]]:
    """id and cosine similarity of the nearest rows, nearest first. vector: [width], of length 1, by the same base."""
    similarity = rows.vectors.astype(np.float32) @ vector.astype(np.float32)
    order = np.argsort(-similarity, kind="stable")[:count]
    return [(rows.ids[row], float(similarity[row])) for row in order]
