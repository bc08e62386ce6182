"""Whether `retune data sufficiency` forecasts right: from half of the rows, against the truth of all of them.

    python bench/sufficiency.py FOLDER [--halves 3]

FOLDER holds train.csv of Banking77 (columns text, category; CC BY 4.0):
https://github.com/PolyAI-LDN/task-specific-datasets, folder banking_data. The other data is the shipped sample. Of
each a random half of the rows forecasts what twice its rows give. The truth: the same folds are tested once more, after
the probe had as many rows of the other half beside those that it had.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from retune.config import params
from retune.config.params import Classify
from retune.evaluation import sufficiency
from retune.evaluation.wrong_labels import folds
from retune.models import probe
from tasks.data_quality import curated_rows

ROOT = Path(__file__).resolve().parent.parent


def backtest(name: str, texts: list[str], labels: pd.Series, config: Classify, halves: int) -> None:
    is_used = (labels.map(labels.value_counts()) >= 3 * sufficiency.LEAST_ROWS).to_numpy()  # a half has enough of each
    vectors = curated_rows.embed([text for text, used in zip(texts, is_used, strict=True) if used], config.train)
    truth, names = pd.factorize(labels[is_used], sort=True)
    for number in range(halves):
        rows = half(truth, number)
        part = sufficiency.measure(vectors[rows], truth[rows], config.train.probe, config.train.seed, lambda _: None)
        forecast = sufficiency.forecast(part, config.train.seed)
        changes = with_twice_the_rows(vectors, truth, rows, config, number)
        gains = np.array([changes[truth[rows] == label].mean() for label in range(len(names))])
        forecasts = np.array([each.gain for each in forecast.of_labels])
        agreement = np.corrcoef(forecasts, gains)[0, 1]
        print(f"{name:10}  half {number}  {line(forecast.of_all, changes)}")
        print(
            f"{'':10}  {len(names)} labels: gain of recall missed by {rms(forecasts - gains):.4f} in the root mean "
            f"square, by {rms(forecast.of_all.gain - gains):.4f} if it were that of all; correlation {agreement:.2f}",
            flush=True,
        )


def with_twice_the_rows(
    vectors: torch.Tensor, truth: np.ndarray, rows: np.ndarray, config: Classify, seed: int
) -> np.ndarray:
    """Of each of `rows`, what changes when the probe has as many rows more: 1 right at last, -1 wrong at last, 0."""
    draw = np.random.default_rng(seed)
    others, labels = np.setdiff1d(np.arange(len(truth)), rows), int(truth.max()) + 1
    changes = np.zeros(len(rows))
    for train, test in folds(truth[rows], sufficiency.FOLDS, config.train.seed):
        more = np.concatenate([rows[train], draw.permutation(others)[: len(train)]])
        for sign, learned in ((-1, rows[train]), (1, more)):
            head = probe.fit(vectors[learned], truth[learned].tolist(), labels, None, config.train.probe)
            with torch.no_grad():
                changes[test] += sign * (head(vectors[rows[test]]).argmax(-1).numpy() == truth[rows[test]])
    return changes


def rms(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))


def half(truth: np.ndarray, seed: int) -> np.ndarray:
    """Every other row of each label, in a random order."""
    draw = np.random.default_rng(seed)
    rows = [draw.permutation(np.flatnonzero(truth == label)) for label in range(int(truth.max()) + 1)]
    return np.sort(np.concatenate([each[: len(each) // 2] for each in rows]))


def line(forecast: sufficiency.Gain, changes: np.ndarray) -> str:
    """The forecast beside the measured gain, with the error of that measurement (90 %), for it has no more rows."""
    gain, error = float(changes.mean()), float(1.645 * changes.std() / len(changes) ** 0.5)
    agrees = "agrees" if forecast.low <= gain + error and gain - error <= forecast.high else "DISAGREES"
    return (
        f"accuracy {forecast.now:.4f}, forecast gain {forecast.gain:+.4f} [{forecast.low:+.4f}, {forecast.high:+.4f}], "
        f"measured {gain:+.4f} ± {error:.4f}, {agrees}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--halves", type=int, default=3)
    arguments = parser.parse_args()
    config = params.load(ROOT / "params.yaml")
    assert isinstance(config, Classify)
    table = pd.read_csv(arguments.folder / "train.csv", dtype="str", keep_default_na=False)
    backtest("Banking77", table["text"].tolist(), table["category"], config, arguments.halves)
    sample = pd.read_csv(ROOT / "tests/samples/tickets.csv", dtype="str", keep_default_na=False)
    sample = sample[sample["body"].str.strip() != ""].drop_duplicates("body")
    backtest("sample", sample["body"].tolist(), sample["queue"], config, arguments.halves)


if __name__ == "__main__":
    main()
