"""Whether a promised precision is kept: 1,000 draws of each kind of model, against the truth that only a draw knows.

    python bench/automation.py [--draws 1000]

A draw has validation rows with a confidence and a right or wrong answer. `retune.evaluation.automation` chooses the
threshold; the kind's own probabilities say which precision it has among all rows that could come. Beside it stand the
oracle, who knows these, and the plain way: the lowest threshold whose validation rows kept the promise. The last lines
are of the whole decision: promises of labels that must hold together, and what test rows are said to prove.
Goal: each promise is kept in at least 95% of the draws. Exits with 1 where it is not.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from retune.evaluation import automation, temperature
from retune.evaluation.automation import Answers, Promise

POPULATION = 200_000
GOAL = 0.95
Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]  # confidence, probability of being right


@dataclass(frozen=True)
class Population:
    """All rows that could come, the most confident first."""

    confidence: np.ndarray
    precision: np.ndarray  # of the rows down to each

    def share(self, bound: float | None) -> float:
        rows = 0 if bound is None else int(np.searchsorted(-self.confidence, -bound, side="right"))
        return rows / len(self.confidence)

    def keeps(self, bound: float | None, promise: Promise) -> bool:
        rows = round(self.share(bound) * len(self.confidence))
        return not rows or bool(self.precision[rows - 1] >= promise.precision)

    def oracle(self, promise: Promise) -> float:
        enough = np.flatnonzero(self.precision >= promise.precision)
        return (enough[-1] + 1) / len(self.confidence) if len(enough) else 0.0


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def calibrated(draw: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    probability = sigmoid(draw.normal(3.0, 1.8, rows))
    return probability, probability


def overconfident(draw: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    evidence = draw.normal(3.0, 1.8, rows)
    return sigmoid(3 * evidence), sigmoid(evidence)


def sure_of_all(draw: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    return 0.99 + 0.01 * draw.random(rows), np.full(rows, 0.93)


def worst_at_the_top(draw: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The surest 3% of the rows are wrong more often than those below them, which the method assumes not to happen."""
    evidence = draw.normal(3.0, 1.8, rows)
    return sigmoid(evidence), np.where(evidence > 6.4, 0.9, sigmoid(evidence))


KINDS: dict[str, Draw] = {
    "calibrated": calibrated,
    "overconfident": overconfident,
    "sure of all, 7% wrong": sure_of_all,
    "worst at the top": worst_at_the_top,
}


def population(kind: Draw) -> Population:
    confidence, probability = kind(np.random.default_rng(0), POPULATION)
    order = np.argsort(-confidence, kind="stable")
    return Population(confidence[order], np.cumsum(probability[order]) / np.arange(1, POPULATION + 1))


def answers(confidence: np.ndarray, probability: np.ndarray, draw: np.random.Generator) -> Answers:
    labels = np.full(len(confidence), "label", object)
    return Answers(labels, confidence, draw.random(len(confidence)) < probability)


def plain_threshold(rows: Answers, promise: Promise) -> float | None:
    order = np.argsort(-rows.confidence, kind="stable")
    precision = np.cumsum(rows.right[order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(precision >= promise.precision)
    return float(rows.confidence[order[enough[-1]]]) if len(enough) else None


def of_kind(name: str, rows: int, promise: Promise, draws: int) -> bool:
    truth = population(KINDS[name])
    keeps, plain, shares = [], [], []
    for seed in range(draws):
        draw = np.random.default_rng(seed + 1)
        validation = answers(*KINDS[name](draw, rows), draw)
        bound = automation.threshold(validation, promise)
        keeps.append(truth.keeps(bound, promise))
        shares.append(truth.share(bound))
        plain.append(truth.keeps(plain_threshold(validation, promise), promise))
    print(
        f"{name:24} {rows:6,} {promise.precision:8.0%} {np.mean(keeps):8.1%} {np.mean(shares):11.1%} "
        f"{truth.oracle(promise):7.1%} {np.mean(plain):10.1%}",
        flush=True,
    )
    return bool(np.mean(keeps) >= GOAL)


def logits_of(draw: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of four labels, three times as large as they should be, and labels drawn from what they should say."""
    logits = draw.normal(0, 2.5, (rows, 4))
    probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return 3 * logits, (draw.random((rows, 1)) > probability.cumsum(1)).sum(1)


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def tempered(draws: int, rows: int, promise: Promise) -> bool:
    """The temperature comes from the same validation rows as the threshold."""
    logits, truth = logits_of(np.random.default_rng(0), POPULATION)
    keeps, degrees = [], []
    for seed in range(draws):
        val_logits, val_truth = logits_of(np.random.default_rng(seed + 1), rows)
        degrees.append(temperature.fit(val_logits, val_truth, 1.0))
        shares = softmax(val_logits / degrees[-1])
        validation = Answers(shares.argmax(1).astype(object), shares.max(1), shares.argmax(1) == val_truth)
        bound = automation.threshold(validation, promise)
        everything = softmax(logits / degrees[-1])
        alone = everything.max(1) >= (np.inf if bound is None else bound)
        keeps.append(not alone.any() or np.mean((everything.argmax(1) == truth)[alone]) >= promise.precision)
    print(
        f"temperature fitted on the same {rows} rows: kept in {np.mean(keeps):.1%} of {draws} draws; temperature "
        f"{np.mean(degrees):.2f}, 3 is true",
        flush=True,
    )
    return bool(np.mean(keeps) >= GOAL)


def by_label(draws: int, promise: Promise) -> bool:
    """Three labels, one of which is wrong three times as often: the promises of all must hold together."""
    lift = {"a": 1.2, "b": 0.5, "c": -1.2}
    together, proofs = [], []
    for seed in range(draws):
        draw = np.random.default_rng(seed + 1)
        sides, probabilities = [], []
        for rows in (3000, 1500):
            labels = draw.choice(np.array(list(lift), object), rows)
            evidence = draw.normal(3.0, 1.8, rows)
            probability = sigmoid(evidence + np.array([lift[label] for label in labels]))
            sides.append(Answers(labels, sigmoid(2 * evidence), draw.random(rows) < probability))
            probabilities.append(probability)
        document = automation.decide(*sides, promise, by_label=True)
        precise = [_precision(bound, lift[label]) for label, bound in document["labels"].items()]
        together.append(all(each >= promise.precision for each in precise))
        shares = [_share(bound) for bound in document["labels"].values()]
        whole = np.average(precise, weights=shares) if sum(shares) else 1.0
        proofs.append((document["status"] == automation.PROVED, whole >= promise.precision))
    false = np.mean([proved and not true for proved, true in proofs])
    print(
        f"three labels, each with its own promise: all kept in {np.mean(together):.1%} of {draws} draws; proved on "
        f"test in {np.mean([proved for proved, _ in proofs]):.1%}, wrongly in {false:.1%}",
        flush=True,
    )
    return bool(np.mean(together) >= GOAL and false <= 1 - GOAL)


EVIDENCE = np.sort(np.random.default_rng(0).normal(3.0, 1.8, POPULATION))[::-1]


def _share(bound: float | None) -> float:
    return 0.0 if bound is None else float(np.mean(sigmoid(2 * EVIDENCE) >= bound))


def _precision(bound: float | None, lift: float) -> float:
    rows = round(_share(bound) * POPULATION)
    return float(sigmoid(EVIDENCE[:rows] + lift).mean()) if rows else 1.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=1000)
    draws = parser.parse_args().draws
    print(f"{'model':24} {'rows':>6} {'promise':>8} {'kept':>8} {'automated':>11} {'oracle':>7} {'plain way':>10}")
    goals = [
        of_kind(name, rows, Promise(precision, 0.95), draws)
        for name in KINDS
        for rows, precision in ((300, 0.95), (1500, 0.95), (1500, 0.98))
    ]
    goals += [tempered(min(draws, 300), 500, Promise(0.9, 0.95)), by_label(min(draws, 500), Promise(0.95, 0.95))]
    print("each promise is kept" if all(goals) else "a promise is kept in fewer than 95% of the draws")
    return 0 if all(goals) else 1


if __name__ == "__main__":
    sys.exit(main())
