"""Time a candidate and the champion beside each other, in one sitting: milliseconds a text, or a token written.

    python -m tasks.latency CANDIDATE_FOLDER CHAMPION_FOLDER ROWS.parquet OUT.json

Not a DVC stage, and not part of `evaluate`: a time is never the same twice, and the output of a stage must be. Both
models are loaded into one process and asked in turn, so that other work of the machine slows both; the ratio is that of
a pass of one and the next pass of the other. A generative model is timed by the token, so that longer answers do not
make it slower. The file also says how many tokens each wrote, since most of the time of a short answer goes into
reading the prompt: the gate (`retune.promotion.latency`) uses both ratios.
"""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from retune.config import common, params
from retune.data import row_table
from retune.errors import Refused
from retune.models import loading
from retune.promotion import latency
from retune.promotion.latency import Latency
from retune.system import stage_io

Predict = Callable[[list[str]], int | None]
"""Asks a model. Returns how many tokens it wrote, None for a classifier."""


def measure_latency(
    candidate: Predict,
    champion: Predict,
    texts: list[str],
    latency_config: common.Latency,
    clock: Callable[[], float],
) -> Latency:
    """The median time of each model, in ms a text or token, and the median ratio of the passes. clock: in seconds."""
    texts = texts[: latency_config.texts]
    if not texts:
        raise Refused("There are no rows to time the models on: the test split is empty")

    def milliseconds(predict: Predict) -> float:
        start = clock()
        tokens = predict(texts)
        return 1000 * (clock() - start) / (len(texts) if tokens is None else max(tokens, 1))

    # The first pass fills caches and starts threads; each pass writes the same tokens.
    candidate_tokens, champion_tokens = candidate(texts), champion(texts)
    by_token = candidate_tokens is not None and champion_tokens is not None
    candidate_times: list[float] = []
    champion_times: list[float] = []
    for number in range(latency_config.passes):  # the two take turns in going first
        pair = [(candidate, candidate_times), (champion, champion_times)]
        for predict, times in pair if number % 2 == 0 else pair[::-1]:
            times.append(milliseconds(predict))
    ratios = [one / max(other, 1e-9) for one, other in zip(candidate_times, champion_times, strict=True)]
    return Latency(
        candidate=median(candidate_times),
        champion=median(champion_times),
        ratio=median(ratios),
        texts=len(texts),
        passes=latency_config.passes,
        per=latency.TOKEN if by_token else latency.TEXT,
        candidate_tokens=candidate_tokens if by_token else None,
        champion_tokens=champion_tokens if by_token else None,
    )


def main(candidate: Path, champion: Path, rows_path: Path, out: Path) -> None:
    latency_config = params.load().latency
    models = [_predictor(folder, latency_config.batch_size) for folder in (candidate, champion)]
    texts = row_table.read(rows_path)["text"].tolist()
    measurement = measure_latency(models[0], models[1], texts, latency_config, time.perf_counter)
    stage_io.write_json(latency.as_record(measurement), out)
    print(f"{measurement.candidate:.3g} ms a {measurement.per}, the champion {measurement.champion:.3g}", flush=True)


def _predictor(folder: Path, batch_size: int) -> Predict:
    model = loading.load(folder)

    def predict(texts: list[str]) -> int | None:
        tokens = model.predict(texts, batch_size).tokens
        return None if tokens is None else int(tokens.sum())

    return predict


if __name__ == "__main__":
    stage_io.run(main)
