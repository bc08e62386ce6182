"""How many of the labels that were flipped on purpose stand at the head of `retune data labels`, on Banking77.

    python bench/labels.py FOLDER [--seeds 0,1,2]

FOLDER holds train.csv of Banking77 (columns text, category; CC BY 4.0):
https://github.com/PolyAI-LDN/task-specific-datasets, folder banking_data. Of its rows 5 % get another label: any other
(uniform), or one of the three whose mean vectors are nearest (neighbouring). Precision at k, with k the number of
flipped rows, counts the label errors that Banking77 has of itself as mistakes. Beside it, in the same run, the usual
ranking: the probe's out-of-fold probability of the row's own label less that of the best other one. Seconds include
the embedding.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from retune.config import params
from retune.config.params import Classify
from retune.evaluation import wrong_labels
from retune.models import probe
from tasks.data_quality import curated_rows

SHARE = 0.05
ROOT = Path(__file__).resolve().parent.parent


def flip(vectors: np.ndarray, truth: np.ndarray, kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The labels with some of them changed, and which rows were."""
    draw, labels = np.random.default_rng(seed), int(truth.max()) + 1
    means = np.stack([vectors[truth == label].mean(0) for label in range(labels)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    cosines = means @ means.T
    np.fill_diagonal(cosines, -np.inf)
    flipped, changed = truth.copy(), draw.choice(len(truth), int(SHARE * len(truth)), replace=False)
    for row in changed:
        if kind == "uniform":
            flipped[row] = (truth[row] + draw.integers(1, labels)) % labels
        else:
            flipped[row] = draw.choice(np.argsort(-cosines[truth[row]])[:3])
    return flipped, changed


def precision(doubt: np.ndarray, changed: np.ndarray) -> float:
    return float(np.isin(np.argsort(-doubt, kind="stable")[: len(changed)], changed).mean())


def plain_doubt(vectors: torch.Tensor, truth: np.ndarray, config: Classify) -> np.ndarray:
    shares = np.empty((len(truth), int(truth.max()) + 1))
    for train, test in wrong_labels.folds(truth, wrong_labels.FOLDS, config.train.seed):
        head = probe.fit(vectors[train], truth[train].tolist(), shares.shape[1], None, config.train.probe)
        with torch.no_grad():
            shares[test] = head(vectors[test]).softmax(-1).numpy()
    return -wrong_labels.margins(shares, truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", default="0,1,2")
    arguments = parser.parse_args()
    config = params.load(ROOT / "params.yaml")
    assert isinstance(config, Classify)
    table = pd.read_csv(arguments.folder / "train.csv", dtype="str", keep_default_na=False)
    began = time.monotonic()
    vectors = curated_rows.embed(table["text"].tolist(), config.train)
    embedding = time.monotonic() - began
    truth, _ = pd.factorize(table["category"], sort=True)
    print(f"{len(table)} rows, {truth.max() + 1} labels, embedded in {embedding:.0f} s")
    print("flips         seed  precision at k  plain margin  right suggestions  seconds")
    for kind in ("uniform", "neighbouring"):
        for seed in map(int, arguments.seeds.split(",")):
            labels, changed = flip(vectors.numpy(), truth, kind, seed)
            began = time.monotonic()
            judgement = wrong_labels.judge(
                vectors, table["text"].tolist(), labels, config.train.probe, config.train.seed, lambda _: None
            )
            seconds = time.monotonic() - began + embedding
            plain = precision(plain_doubt(vectors, labels, config), changed)
            right = float((judgement.suggested[changed] == truth[changed]).mean())
            print(
                f"{kind:12}  {seed:4}  {precision(judgement.doubt, changed):14.3f}  {plain:12.3f}  {right:17.3f}  "
                f"{seconds:7.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
