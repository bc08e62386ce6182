"""Time a candidate and the champion beside each other: milliseconds a text, both in one sitting.

    python -m tasks.measure CANDIDATE_FOLDER CHAMPION_FOLDER ROWS.parquet OUT.json

No stage of DVC, and no part of `evaluate`: a time is never the same twice, and what a stage makes must be. Both models
are loaded into one process and asked in turn, so that whatever else the machine does meets both; the ratio is that
of a pass of one and the pass of the other right beside it.
"""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from tasks.core import example, params, served, shell
from tasks.core.errors import Refused
from tasks.core.params import Measure

Predict = Callable[[list[str]], Any]


def measure(
    candidate: Predict, champion: Predict, texts: list[str], section: Measure, clock: Callable[[], float]
) -> dict[str, Any]:
    """What the gate compares: the middle time of each, in ms a text, and the middle ratio of the pairs of passes."""
    texts = texts[: section.texts]
    if not texts:
        raise Refused("there are no rows to time the models on")

    def seconds(predict: Predict) -> float:
        began = clock()
        predict(texts)
        return clock() - began

    for predict in (candidate, champion):
        predict(texts)  # the first pass fills caches and starts threads
    ours: list[float] = []
    theirs: list[float] = []
    for number in range(section.passes):  # who goes first takes turns too
        pair = [(candidate, ours), (champion, theirs)]
        for predict, taken in pair if number % 2 == 0 else pair[::-1]:
            taken.append(seconds(predict))
    return {
        "candidate": 1000 * median(ours) / len(texts),
        "champion": 1000 * median(theirs) / len(texts),
        "ratio": median(one / max(other, 1e-9) for one, other in zip(ours, theirs, strict=True)),
        "texts": len(texts),
        "passes": section.passes,
    }


def main(candidate: Path, champion: Path, rows_path: Path, out: Path) -> None:
    section = params.load().measure
    ours, theirs = (_predictor(folder, section.batch_size) for folder in (candidate, champion))
    told = measure(ours, theirs, example.read(rows_path)["text"].tolist(), section, time.perf_counter)
    shell.write_json(told, out)
    print(f"{told['candidate']:.3g} ms a text, the champion {told['champion']:.3g}", flush=True)


def _predictor(folder: Path, batch_size: int) -> Predict:
    asked = served.load(folder)
    return lambda texts: asked.predict(texts, batch_size)


if __name__ == "__main__":
    shell.run(main)
