"""Time a candidate and the champion beside each other, in one sitting: milliseconds a text, or a token written.

    python -m tasks.latency CANDIDATE_FOLDER CHAMPION_FOLDER ROWS.parquet OUT.json

No stage of DVC, and no part of `evaluate`: a time is never the same twice, and what a stage makes must be. Both models
are loaded into one process and asked in turn, so that whatever else the machine does meets both; the ratio is that
of a pass of one and the pass of the other right beside it. A model that writes is timed by the token: one that learned
to give longer answers is no slower for it. How many each wrote is told too, since in short answers most of the time is
that of reading the prompt: the gate (`retune.promotion.gate`) asks for both ratios.
"""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from retune.config import params
from retune.config.params import Latency
from retune.data import row_table
from retune.errors import Refused
from retune.models import loading
from retune.promotion import gate
from retune.system import stage_io

Predict = Callable[[list[str]], int | None]
"""Asks a model; how many tokens it wrote, or None of one that writes none."""


def measure_latency(
    candidate: Predict, champion: Predict, texts: list[str], section: Latency, clock: Callable[[], float]
) -> dict[str, Any]:
    """What the gate compares: the middle time of each, in ms a text or token, and the middle ratio of the passes."""
    texts = texts[: section.texts]
    if not texts:
        raise Refused("there are no rows to time the models on")

    def milliseconds(predict: Predict) -> float:
        began = clock()
        written = predict(texts)
        return 1000 * (clock() - began) / (len(texts) if written is None else max(written, 1))

    # The first pass fills caches and starts threads; what is written in it is written in each.
    tokens = {"candidate_tokens": candidate(texts), "champion_tokens": champion(texts)}
    writes = None not in tokens.values()
    ours: list[float] = []
    theirs: list[float] = []
    for number in range(section.passes):  # who goes first takes turns too
        pair = [(candidate, ours), (champion, theirs)]
        for predict, taken in pair if number % 2 == 0 else pair[::-1]:
            taken.append(milliseconds(predict))
    return {
        "candidate": median(ours),
        "champion": median(theirs),
        "ratio": median(one / max(other, 1e-9) for one, other in zip(ours, theirs, strict=True)),
        "texts": len(texts),
        "passes": section.passes,
        "per": gate.TOKEN if writes else gate.TEXT,
        **(tokens if writes else {}),
    }


def main(candidate: Path, champion: Path, rows_path: Path, out: Path) -> None:
    section = params.load().latency
    ours, theirs = (_predictor(folder, section.batch_size) for folder in (candidate, champion))
    told = measure_latency(ours, theirs, row_table.read(rows_path)["text"].tolist(), section, time.perf_counter)
    stage_io.write_json(told, out)
    print(f"{told['candidate']:.3g} ms a {told['per']}, the champion {told['champion']:.3g}", flush=True)


def _predictor(folder: Path, batch_size: int) -> Predict:
    asked = loading.load(folder)

    def predict(texts: list[str]) -> int | None:
        written = asked.predict(texts, batch_size).tokens
        return None if written is None else int(written.sum())

    return predict


if __name__ == "__main__":
    stage_io.run(main)
