"""Which labels are doubtful, and what they may be: three opinions on each row, none of which has seen its label.

1. Logistic regression on the vectors of the frozen base (`models.probe`): log-probabilities, out of fold.
2. The neighbours: the share of the labels among the nearest other rows by cosine, weighted by it (Dudani 1976, The
   Distance-Weighted k-Nearest-Neighbor Rule).
3. Naive Bayes on character n-grams (`models.naive_bayes`), out of fold: it errs where vectors do not.

The margin of an opinion is what it gives to the row's own label less what it gives to the best other one ("normalized
margin", Northcutt et al. 2021, Confident Learning, and Kuan & Mueller 2022, Model-agnostic label quality scoring).
Opinions are divided by the standard deviation of their margins, then added; the margin of the sum ranks the rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from retune.config.classification import Probe
from retune.errors import Refused
from retune.models import naive_bayes, probe

FOLDS = 5
NEIGHBOURS = 20
WIDTH = 0.1  # of the weight of a neighbour: exp((cosine - 1) / WIDTH)
POOL = 50_000  # rows that neighbours are sought among: beyond, a sample, so that time grows with the rows alone
CHUNK = 1024  # rows whose neighbours are sought at once
FAR = 4.0  # robust standard deviations below the usual nearness
ALIKE = 0.1  # share of two labels' rows that are taken for the other's, from which on they are hard to tell apart

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Judgement:
    """What the opinions together say of each row. Arrays are in the order of the rows."""

    scores: Array  # [rows, labels]
    truth: Array  # [rows], label numbers
    nearness: Array  # [rows], mean cosine to the nearest other rows

    @property
    def suggested(self) -> Array:
        """The best other label."""
        scores = self.scores.copy()
        scores[np.arange(len(scores)), self.truth] = -np.inf
        best: Array = scores.argmax(1)
        return best

    @property
    def doubt(self) -> Array:
        """0 to 1: 0.5 where the row's own label and the best other one are level, more where the other leads."""
        doubt: Array = 1 / (1 + np.exp(np.clip(margins(self.scores, self.truth), -50, 50)))
        return doubt

    @property
    def outliers(self) -> Array:
        """The rows far from all others, the farthest first: by the median and its absolute deviation."""
        middle = np.median(self.nearness)
        spread = 1.4826 * np.median(np.abs(self.nearness - middle))
        far = np.flatnonzero(self.nearness < middle - FAR * spread)
        return far[np.argsort(self.nearness[far], kind="stable")]

    def confused(self) -> list[tuple[int, int, float]]:
        """Pairs of labels that are hard to tell apart, and the share of the mistakes; 0.5 is a guess.

        The mean over both labels of the share of its rows for which the other label has more.
        """
        labels = self.scores.shape[1]
        beaten = self.scores > self.scores[np.arange(len(self.truth)), self.truth][:, None]
        counts = np.stack([beaten[self.truth == label].sum(0) for label in range(labels)])
        shares = counts / np.maximum(np.bincount(self.truth, minlength=labels), 1)[:, None]
        both = np.triu((shares + shares.T) / 2, 1)
        alike = [(int(one), int(other), float(both[one, other])) for one, other in np.argwhere(both >= ALIKE)]
        return sorted(alike, key=lambda pair: -pair[2])


def judge(
    vectors: torch.Tensor, texts: Sequence[str], truth: Array, config: Probe, seed: int, say: Callable[[str], None]
) -> Judgement:
    """vectors: [rows, width], of length 1; truth: [rows] label numbers from 0 on, of each at least `FOLDS` rows."""
    counts = np.bincount(truth)
    labels = len(counts)
    if labels < 2 or counts.min() < FOLDS:
        raise Refused(
            f"{len(truth)} rows of {labels} labels are too few to judge labels by",
            remedy=f"it takes two labels of {FOLDS} rows each",
        )
    opinions = [np.empty((len(truth), labels)) for _ in range(2)]
    letters = naive_bayes.features(texts)
    for number, (train, test) in enumerate(folds(truth, FOLDS, seed), 1):
        head = probe.fit(vectors[train], truth[train].tolist(), labels, None, config)
        with torch.no_grad():
            opinions[0][test] = head(vectors[test]).double().log_softmax(-1).numpy()
        opinions[1][test] = naive_bayes.log_probabilities(letters, train, truth, labels, test)
        say(f"judged part {number} of {FOLDS}")
    shares, nearness = neighbours(vectors.numpy(), truth, labels)
    scores = sum((scaled(opinion, truth) for opinion in (*opinions, shares)), np.zeros_like(shares))
    return Judgement(scores, truth, nearness)


def folds(truth: Array, count: int, seed: int) -> list[tuple[Array, Array]]:
    """(train, test) rows of each fold; the rows of each label are dealt out evenly, in a random order."""
    draw = np.random.default_rng(seed)
    part = np.empty(len(truth), dtype=np.int64)
    for label in np.unique(truth):
        rows = draw.permutation(np.flatnonzero(truth == label))
        part[rows] = (np.arange(len(rows)) + draw.integers(count)) % count
    return [(np.flatnonzero(part != number), np.flatnonzero(part == number)) for number in range(count)]


def neighbours(vectors: Array, truth: Array, labels: int) -> tuple[Array, Array]:
    """The weighted shares of the labels [rows, labels] among a row's nearest others, and the mean cosine to them."""
    pool = np.arange(len(truth)) if len(truth) <= POOL else np.linspace(0, len(truth) - 1, POOL).astype(np.int64)
    count = min(NEIGHBOURS, len(pool) - 1)
    shares, nearness = np.full((len(truth), labels), 1e-3), np.empty(len(truth))
    for start in range(0, len(truth), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(truth)))
        cosines = vectors[rows] @ vectors[pool].T
        cosines[rows[:, None] == pool[None]] = -np.inf
        nearest = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        near = np.take_along_axis(cosines, nearest, 1).astype(np.float64)
        nearness[rows] = near.mean(1)
        np.add.at(shares, (rows[:, None], truth[pool[nearest]]), np.exp((near - 1) / WIDTH))
    return shares / shares.sum(1, keepdims=True), nearness


def scaled(opinion: Array, truth: Array) -> Array:
    """In units of the standard deviation of its margins; one that tells no label from another adds nothing."""
    spread = margins(opinion, truth).std()
    return opinion / spread if spread > 0 else np.zeros_like(opinion)


def margins(scores: Array, truth: Array) -> Array:
    """Of each row: the score of its own label less that of the best other one."""
    others = scores.copy()
    scores_of_truth = others[np.arange(len(truth)), truth].copy()
    others[np.arange(len(truth)), truth] = -np.inf
    lead: Array = scores_of_truth - others.max(1)
    return lead
