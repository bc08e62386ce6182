"""What a model may do alone: the lowest confidence at which it keeps a promised precision. Adapter of scipy.stats.

Learn then Test (Angelopoulos, Bates, Candes, Jordan & Lei 2021): the risk is the share of wrong answers among those
that nobody reads. From the most confident answers down, each threshold is a hypothesis "the risk is above
1 - precision" with the exact binomial tail as its p-value, and the tests stop at the first that is not rejected
(fixed-sequence testing, section 3 there), so no correction is needed for their number. Where to begin and in which
steps follows from the number of rows alone. Nothing is assumed of the model's calibration; only that answers of less
confidence are not right more often. `bench/automation.py` draws data that break that too.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import beta, binom, nbinom

from retune.config.classification import Automation
from retune.config.evaluation import GenerationAutomation
from retune.evaluation.statistics import Interval
from retune.models.routing import AUTO, Routing

PROVED, HOLDS, CONTRADICTED, UNREACHABLE, OFF = "proved", "holds", "contradicted", "unreachable", "off"
FIRST_SHARE, FIRST_MISTAKES = 4, 4  # the first test: of a quarter of the rows, or as many as may hold four mistakes
STEP = 1.05  # each further test has this many times the rows
OTHERS = ""  # the group of the labels without a threshold of their own


@dataclass(frozen=True)
class Promise:
    precision: float  # smallest share of right answers among those that nobody reads
    confidence: float  # with which it holds


@dataclass(frozen=True)
class Answers:
    """What a model said of rows whose label is known."""

    predicted: np.ndarray  # [rows] labels
    confidence: np.ndarray  # [rows]
    right: np.ndarray  # [rows] of bool

    def part(self, rows: np.ndarray) -> "Answers":
        return Answers(self.predicted[rows], self.confidence[rows], self.right[rows])


def fewest_rows(promise: Promise, wrong: int = 0) -> int:
    """The fewest rows that prove the promise if `wrong` of them are wrong."""
    mistakes = wrong + 1  # one more must be unlikely to stay away for so long: the negative binomial's quantile
    return mistakes + int(nbinom.ppf(promise.confidence, mistakes, 1 - promise.precision))


def exact_interval(hits: int, rows: int, confidence: float) -> Interval:
    """Clopper & Pearson 1934. Each of the two bounds holds with `confidence`; of no rows it is the whole scale."""
    if not rows:
        return Interval(0.0, 0.0, 1.0)
    low = beta.ppf(1 - confidence, hits, rows - hits + 1) if hits else 0.0
    high = beta.ppf(confidence, hits + 1, rows - hits) if hits < rows else 1.0
    return Interval(hits / rows, round(float(low), 9), round(float(high), 9))  # the same on each machine


def threshold(answers: Answers, promise: Promise) -> float | None:
    """The lowest confidence at which the promise is kept; None if there is none that these rows prove."""
    order = np.argsort(-answers.confidence, kind="stable")
    confidence, wrong = answers.confidence[order], np.cumsum(~answers.right[order])
    lowest = None
    for tested in _sequence(len(order), promise):
        at = confidence[tested - 1]
        alone = int(np.searchsorted(-confidence, -at, side="right"))  # rows of the same confidence go together
        if binom.cdf(wrong[alone - 1], alone, 1 - promise.precision) > 1 - promise.confidence:
            break
        lowest = float(at)
    return lowest


def _sequence(rows: int, promise: Promise) -> list[int]:
    """How many of the most confident rows each test takes."""
    first = max(rows // FIRST_SHARE, fewest_rows(promise))
    counts = [min(first, fewest_rows(promise, FIRST_MISTAKES))]
    while counts[-1] < rows:
        counts.append(min(rows, max(counts[-1] + 1, int(counts[-1] * STEP))))
    return counts if counts[0] <= rows else []


def groups(predicted: np.ndarray, promise: Promise) -> tuple[list[str], Promise]:
    """The labels that have rows enough for a threshold of their own, and the promise that each group must then prove.

    All groups keep their promise at once with the confidence of `promise` (Bonferroni): each proves it with a share of
    the doubt. Which labels they are follows from what was predicted, not from what was right: those of which there are
    twice the rows that prove the promise without a mistake.
    """
    names, counts = np.unique(predicted.astype(str), return_counts=True)
    order = sorted(range(len(names)), key=lambda at: (-counts[at], names[at]))
    for number in range(len(order), 0, -1):
        parts = number + (number < len(order))
        shared = Promise(promise.precision, 1 - (1 - promise.confidence) / parts)
        if parts > 1 and counts[order[number - 1]] >= 2 * fewest_rows(shared):
            return sorted(str(names[at]) for at in order[:number]), shared
    return [], promise


def rows_of(group: str, predicted: np.ndarray, labels: list[str]) -> np.ndarray:
    """[rows] of bool: whether the group's threshold decides about a row."""
    return ~np.isin(predicted.astype(str), labels) if group == OTHERS else predicted.astype(str) == group


def risk_coverage(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[rows] share of the rows that are answered, from the most confident down, and [rows] the share wrong of them.

    Rows of the same confidence have no order, so each counts as their mean.
    """
    order = np.argsort(-confidence, kind="stable")
    _, tie, sizes = np.unique(-confidence[order], return_inverse=True, return_counts=True)
    wrong = (np.bincount(tie, weights=~right[order]) / sizes)[tie]
    counts = np.arange(1, len(order) + 1)
    return counts / max(len(order), 1), np.cumsum(wrong) / counts


def aurc(confidence: np.ndarray, right: np.ndarray) -> float:
    """Area under the risk-coverage curve (Geifman, Uziel & El-Yaniv 2019, section 2); less is better, 0 is perfect."""
    return float(np.mean(risk_coverage(confidence, right)[1])) if len(right) else 0.0


def document(validation: pd.DataFrame, test: pd.DataFrame, config: Automation | GenerationAutomation) -> dict[str, Any]:
    """automation.json. validation, test: confidence of each row, with predicted and label or, of texts, right."""
    if isinstance(config, GenerationAutomation):
        if config.measure is None:
            nothing = Answers(np.array([], object), np.array([]), np.array([], bool))
            return off(nothing, "evaluate.automation.measure is null, so a person reads everything")
        promise = Promise(config.precision, config.confidence)
        return decide(answers_of(validation), answers_of(test), promise, False) | {"measure": config.measure}
    if config.precision is None:
        return off(answers_of(test), "evaluate.automation.precision is null, so a person reads everything")
    promise = Promise(config.precision, config.confidence)
    return decide(answers_of(validation), answers_of(test), promise, config.by_label)


def answers_of(table: pd.DataFrame) -> Answers:
    if "right" in table:  # texts, which no threshold tells apart
        right = table["right"].to_numpy(dtype=float) == 1
        return Answers(np.full(len(table), OTHERS, dtype=object), table["confidence"].to_numpy(float), right)
    predicted = table["predicted"].to_numpy(dtype=object)
    return Answers(predicted, table["confidence"].to_numpy(float), predicted == table["label"].to_numpy(dtype=object))


def decide(validation: Answers, test: Answers, promise: Promise, by_label: bool) -> dict[str, Any]:
    """Thresholds chosen on `validation`, checked once on `test`, and which of the two the promise has.

    A model that was refitted has learned from the validation rows, so what they prove holds of the model before. But
    the thresholds are fixed before any test row is looked at, so one exact test on those proves it for the model as it
    is.
    """
    labels, shared = groups(validation.predicted, promise) if by_label else ([], promise)
    thresholds = {
        group: threshold(validation.part(rows_of(group, validation.predicted, labels)), shared)
        for group in (OTHERS, *labels)
    }
    status, checked = _verdict(_alone(test, thresholds), test.right, promise, any(_bounds(thresholds)))
    if status == CONTRADICTED:
        thresholds = dict.fromkeys(thresholds)
    refuted = [group for group in labels if _is_refuted(_alone(test, {group: thresholds[group]}), test.right, shared)]
    if refuted:
        thresholds |= dict.fromkeys(refuted)
        status, checked = HOLDS if any(_bounds(thresholds)) else CONTRADICTED, _alone(test, thresholds)
    reason = _reason(status, checked, validation, test, promise)
    if refuted and status == HOLDS:
        reason += f". A person reads all of {', '.join(refuted)}: test rows contradict the promise there"
    return {
        "promise": asdict(promise),
        "status": status,
        "reason": reason,
        "threshold": thresholds[OTHERS],
        "labels": {label: thresholds[label] for label in labels},
        "validation_rows": len(validation.right),
        **_measures(checked, test.right, promise),
        "aurc": aurc(test.confidence, test.right),
        "out_of_scope": None,
    }


def off(test: Answers, reason: str) -> dict[str, Any]:
    """The same where nothing is promised: a person reads everything."""
    return {
        "promise": None,
        "status": OFF,
        "reason": reason,
        "threshold": None,
        "labels": {},
        "validation_rows": 0,
        "share": None,
        "precision": None,
        "aurc": aurc(test.confidence, test.right),
        "out_of_scope": None,
    }


def headline(document: dict[str, Any]) -> dict[str, float]:
    """Flat numbers of automation.json, so that DVC and MLflow show a column each."""
    if document["threshold"] is None and not any(_bounds(document["labels"])):
        return {"aurc": document["aurc"], **dict.fromkeys(("automated_share", *_ends("automated_share")), 0.0)}
    flat = {"aurc": document["aurc"]}
    for name, spread in (("automated_share", document["share"]), ("automated_precision", document["precision"])):
        if spread:
            flat |= dict(zip((name, *_ends(name)), (spread["value"], spread["low"], spread["high"]), strict=True))
    return flat


def _ends(name: str) -> tuple[str, str]:
    return f"{name}_low", f"{name}_high"


def _bounds(thresholds: dict[str, float | None]) -> list[bool]:
    return [bound is not None for bound in thresholds.values()]


def _alone(answers: Answers, thresholds: dict[str, float | None]) -> np.ndarray:
    """[rows] of bool: nobody reads the answer."""
    routing = Routing(
        thresholds.get(OTHERS), {group: bound for group, bound in thresholds.items() if group != OTHERS}, ""
    )
    return np.array([route == AUTO for route in routing.routes(answers.predicted.tolist(), answers.confidence)], bool)


def _verdict(alone: np.ndarray, right: np.ndarray, promise: Promise, reachable: bool) -> tuple[str, np.ndarray]:
    spread = exact_interval(int(right[alone].sum()), int(alone.sum()), promise.confidence)
    if not reachable:
        return UNREACHABLE, alone
    if spread.high < promise.precision:
        return CONTRADICTED, alone
    return PROVED if spread.low >= promise.precision else HOLDS, alone


def _is_refuted(alone: np.ndarray, right: np.ndarray, promise: Promise) -> bool:
    return exact_interval(int(right[alone].sum()), int(alone.sum()), promise.confidence).high < promise.precision


def _measures(alone: np.ndarray, right: np.ndarray, promise: Promise) -> dict[str, Any]:
    """What the rule does on the test rows; of a contradicted one, what it would have done."""
    rows, automated, correct = len(right), int(alone.sum()), int(right[alone].sum())
    precision = exact_interval(correct, automated, promise.confidence)
    return {
        "share": {**asdict(exact_interval(automated, rows, promise.confidence)), "n": rows},
        "precision": {**asdict(precision), "n": automated} if automated else None,
    }


def _reason(status: str, alone: np.ndarray, validation: Answers, test: Answers, promise: Promise) -> str:
    rows, right = int(alone.sum()), int(test.right[alone].sum())
    promised = f"{promise.precision:.4g} right at {promise.confidence:.4g} confidence"
    if status == UNREACHABLE:
        return f"{_shortage(validation, promise)}; {promised} is promised, so a person reads everything"
    spread = exact_interval(right, rows, promise.confidence)
    outcome = f"{right} of {rows} test rows above the threshold are right, {spread.low:.4f} to {spread.high:.4f}"
    if status == CONTRADICTED:
        return f"contradicted on test: {outcome}; {promised} was promised, so a person reads everything"
    if status == PROVED:
        return f"proved on test: {outcome}; {promised} is promised"
    needed = fewest_rows(promise, rows - right)
    return (
        f"holds on {len(validation.right)} validation rows, of the model before any refit, and test does not contradict"
        f" it: {outcome}; {promised} is promised, and {needed} such test rows with {rows - right} wrong would prove it"
    )


def _shortage(validation: Answers, promise: Promise) -> str:
    rows, needed = len(validation.right), fewest_rows(promise)
    if not rows:
        return "there is no validation row that the model has not learned from"
    if rows < needed:
        return f"{rows} validation rows are too few, {needed} without a mistake are needed"
    first = _sequence(rows, promise)[0]
    top = validation.part(np.argsort(-validation.confidence, kind="stable")[:first])
    wrong = int((~top.right).sum())
    return (
        f"{wrong} of the {first} most confident validation rows are wrong, {fewest_rows(promise, wrong)} rows would do"
    )
