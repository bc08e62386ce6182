"""Whether `retune data sufficiency` forecasts right: from half of the rows, against the truth of all of them.

    python bench/sufficiency.py FOLDER [--halves 3]

FOLDER holds train.csv of Banking77 (columns text, category; CC BY 4.0):
https://github.com/PolyAI-LDN/task-specific-datasets, folder banking_data. The other data is the shipped sample. Of
each, a random half of the rows forecasts the accuracy of the probe with twice its rows; the truth is measured on all.
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
from tasks.data_quality import curated_rows

ROOT = Path(__file__).resolve().parent.parent


def backtest(name: str, texts: list[str], labels: pd.Series, config: Classify, halves: int) -> None:
    sizes = labels.map(labels.value_counts())
    is_used = (sizes >= 3 * sufficiency.LEAST_ROWS).to_numpy()  # so that a half has enough of each, too
    vectors = curated_rows.embed([text for text, used in zip(texts, is_used, strict=True) if used], config.train)
    truth, names = pd.factorize(labels[is_used], sort=True)
    whole = sufficiency.measure(vectors, truth, config.train.probe, config.train.seed, lambda _: None)
    all_parts = np.arange(len(whole.tested))
    truth_of_all, of_labels = (1 - errors[-1] for errors in whole.errors(all_parts))
    for seed in range(halves):
        rows = half(truth, seed)
        part = sufficiency.measure(vectors[rows], truth[rows], config.train.probe, config.train.seed, lambda _: None)
        forecast = sufficiency.forecast(part, config.train.seed)
        print(f"{name:10}  half {seed}  {line(forecast.of_all, float(truth_of_all))}", flush=True)
        pairs = list(zip(forecast.of_labels, of_labels, strict=True))
        miss = np.mean([abs(each.doubled - true) for each, true in pairs])
        plain = np.mean([abs(each.now - true) for each, true in pairs])
        inside = np.mean([each.low <= true - each.now <= each.high for each, true in pairs])
        print(
            f"{'':10}  {len(names)} labels: recall missed by {miss:.3f} in the mean, by {plain:.3f} without a "
            f"forecast; {inside:.0%} inside their intervals"
        )


def half(truth: np.ndarray, seed: int) -> torch.Tensor:
    """Every other row of each label, in a random order."""
    draw = np.random.default_rng(seed)
    rows = [draw.permutation(np.flatnonzero(truth == label)) for label in range(int(truth.max()) + 1)]
    return torch.tensor(np.sort(np.concatenate([each[: len(each) // 2] for each in rows])))


def line(gain: sufficiency.Gain, truth: float) -> str:
    low, high = gain.now + gain.low, gain.now + gain.high
    inside = "inside" if low <= truth <= high else "OUTSIDE"
    return f"{gain.now:.4f} → {gain.doubled:.4f} [{low:.4f}, {high:.4f}], truth {truth:.4f}, {inside}"


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
