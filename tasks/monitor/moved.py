"""The texts of the last window that are least like the reference: what reviewers look at first after an alarm."""

import numpy as np

from retune.config.serving import Monitor
from retune.monitoring import shift_tests
from retune.serving import sketches
from retune.serving.database import Engine
from tasks.monitor.windows import Window, windows


def moved(engine: Engine, name: str, version: str, config: Monitor, now: float) -> list[tuple[str, int]]:
    """Request id and position of at most `monitor.review_rows` texts that are kept, the one that moved most first."""
    reference, later = windows(engine, name, version, config, now)
    return most_moved(reference, later[-1], config.review_rows) if later else []


def most_moved(reference: Window, window: Window, count: int) -> list[tuple[str, int]]:
    """By the witness function of the test of vectors; without vectors those that the model is least sure of."""
    rows, before = window.rows.reset_index(drop=True), reference.rows["sketch"].dropna()
    with_sketch = rows[rows["sketch"].notna()]
    scores = 1 - rows["confidence"].to_numpy(dtype=float)
    if len(before) and len(with_sketch):
        now = sketches.from_bytes(with_sketch["sketch"].tolist())
        scores = np.full(len(rows), -np.inf)
        scores[with_sketch.index] = shift_tests.witness(sketches.from_bytes(before.tolist()), now)
    ranked = rows.iloc[np.argsort(-scores, kind="stable")]
    ranked = ranked[ranked["text"].notna()].drop_duplicates("text").head(count)
    return [
        (str(request), int(position))
        for request, position in zip(ranked["request_id"], ranked["position"], strict=True)
    ]
