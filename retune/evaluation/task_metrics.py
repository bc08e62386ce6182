"""The metrics of each task, computed from a table of predictions.

    classify    id, label, predicted, confidence
    instruct    id, label, tokens, predicted, confidence, nll, rouge_l, bleu, chrf, exact_match,
                bleu_counts, chrf_counts
    prefer      the same of the chosen answer; rejected_tokens, rejected_nll, preferred

A row of the table is a test row. The columns of another model on the same rows have a prefix, as in `base_predicted`
and `probe_predicted`. Every score is a function of rows, so that a bootstrap can resample them.

BLEU and chrF are corpus scores, from the counts of all rows (`text_metrics`). An older table has no columns of
counts: for it, `recompute_scores` and `paired_scores` average the scores of the rows, as its record does, so that old
versions verify.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from retune.data import task_data
from retune.evaluation import statistics, text_metrics


@dataclass(frozen=True)
class TaskMetrics:
    titles: dict[str, str]  # metric of evaluate.json -> title, in reading order
    primary: str  # the metric to show if there is room for one
    baselines: dict[str, str]  # prefix of the columns of a baseline -> its title


@dataclass(frozen=True)
class MetricScale:
    """The unit of a difference of a metric. A metric without an entry in SCALES is a share."""

    full: float  # the value that counts as 1 for the gate
    unit: str  # after a gain


TEXT_TITLES = {"perplexity": "perplexity", "rouge_l": "ROUGE-L", "chrf": "chrF", "bleu": "BLEU", "exact_match": "exact"}
UNTOUCHED = {"base_": "base, untouched, with the same template"}
TASKS = {
    "classify": TaskMetrics(
        titles={"accuracy": "accuracy", "macro_f1": "macro-F1", "calibration_error": "calibration error"},
        primary="macro_f1",
        baselines={"probe_": "probe: logistic regression on the frozen base", "base_": "base: nearest label name"},
    ),
    "instruct": TaskMetrics(titles=TEXT_TITLES, primary="perplexity", baselines=UNTOUCHED),
    "prefer": TaskMetrics(titles={"preferred": "preferred", **TEXT_TITLES}, primary="preferred", baselines=UNTOUCHED),
}
SHARE = MetricScale(1.0, "")
SCALES = {
    "bleu": MetricScale(100.0, ""),
    "chrf": MetricScale(100.0, ""),
    "perplexity": MetricScale(1.0, " nats a token"),
}
LESS_IS_BETTER = frozenset({"perplexity", "calibration_error"})


def of(task: str) -> TaskMetrics:
    return TASKS[task]


def task_of(config: Mapping[str, Any]) -> str:
    """The task of a record, by its params. Records without a task are of classifiers."""
    return str(config.get("task", "classify"))


def scale_of(metric: str) -> MetricScale:
    return SCALES.get(metric, SHARE)


def direction(metric: str) -> str:
    """Which value of a metric is the better one, for a person to read; empty for a metric that no task has."""
    if not any(metric in task.titles for task in TASKS.values()):
        return ""
    return "smaller is better" if metric in LESS_IS_BETTER else "larger is better"


def titles_in(scores: Mapping[str, Any]) -> dict[str, str]:
    """The headline metrics among the scores of a version: name -> title.

    The task is the one with the most metrics among them; a table of pairs also has those of `instruct`.
    """
    titles = max((facts.titles for facts in TASKS.values()), key=lambda titles: len(titles.keys() & scores.keys()))
    return {name: title for name, title in titles.items() if name in scores}


def headline(scores: Mapping[str, float]) -> dict[str, float]:
    """The headline scores of a version, by title."""
    return {title: scores[name] for name, title in titles_in(scores).items()}


def predictions_of(predictions: pd.DataFrame, prefix: str) -> pd.DataFrame:
    """The predictions of the model with this prefix, as a table without prefixes."""
    names = {name: name.removeprefix(prefix) for name in predictions.columns if name.startswith(prefix)}
    shared = [name for name in ("id", "label", "tokens", "rejected_tokens", "source") if name in predictions]
    return predictions[[*shared, *names]].rename(columns=names) if prefix else predictions


def without_texts(task: str, predictions: pd.DataFrame) -> pd.DataFrame:
    """The table as a version carries it: prompts and answers stay in the DVC store."""
    if task_data.of(task).has_labels:
        return predictions
    texts = [name for name in predictions if name in ("label", "rejected") or str(name).endswith("predicted")]
    return predictions.drop(columns=texts)


def preferred(predictions: pd.DataFrame) -> pd.Series:
    """1.0 if the chosen answer is likelier than the rejected, by mean log-probability per token; else 0.0.

    By the sum over tokens the shorter answer would win.
    """
    chosen = predictions["nll"] / predictions["tokens"]
    return (chosen < predictions["rejected_nll"] / predictions["rejected_tokens"]).astype("float64")


def recompute_scores(task: str, predictions: pd.DataFrame, bins: int) -> dict[str, float]:
    """The headline scores, recomputed from the rows; only those whose columns the table has.

    bins: of the calibration error.
    """
    if task_data.of(task).has_labels:
        return _label_scores(predictions, bins)
    tokens, nll = predictions["tokens"].to_numpy(float), predictions["nll"].to_numpy(float)
    scores = {"perplexity": statistics.perplexity(tokens, nll)}
    if "rejected_nll" in predictions:
        scores["preferred"] = float(preferred(predictions).mean())
    return scores | {
        name: _text_score(name, predictions) for name in of(task).titles if name in predictions and name not in scores
    }


def _text_score(metric: str, predictions: pd.DataFrame) -> float:
    answers = predictions[predictions[metric].notna()]
    return score_of_rows(metric, answers)(np.arange(len(answers)))


def _label_scores(predictions: pd.DataFrame, bins: int) -> dict[str, float]:
    numbers, _ = pd.factorize(pd.concat([predictions["label"], predictions["predicted"]]), sort=True)
    truth, labels = np.split(numbers, 2)
    scores = {name: score(truth, labels) for name, score in statistics.SCORES.items()}
    confidences = predictions["confidence"].to_numpy()
    return scores | {"calibration_error": statistics.calibration_error(truth == labels, confidences, bins)}


def score_of_rows(metric: str, predictions: pd.DataFrame) -> Callable[[np.ndarray], float]:
    """The score of some rows of the table, by their numbers. predictions: rows that all have a value of the metric.

    For BLEU and chrF the corpus score if the table has the counts; otherwise the mean over the rows.
    """
    if has_counts(metric, predictions):
        counts = _counts(metric, predictions)
        return lambda rows: text_metrics.corpus_score(metric, counts[rows])
    values = predictions[metric].to_numpy(float)
    return lambda rows: float(values[rows].mean())


def has_counts(metric: str, predictions: pd.DataFrame) -> bool:
    """Whether the table holds the counts of this corpus score."""
    return text_metrics.COUNTS.get(metric) in predictions


def paired_scores(metric: str, candidate: pd.DataFrame, rival: pd.DataFrame) -> statistics.Pair:
    """Both models on the rows for which both have a prediction."""
    if metric in statistics.SCORES:
        return _pair_of_labels(metric, candidate, rival)
    if metric == "perplexity":
        tokens = candidate["tokens"].to_numpy(dtype=float)
        return _pair_of_numbers(statistics.log_likelihood, tokens, candidate["nll"], rival["nll"])
    full = scale_of(metric).full
    if has_counts(metric, candidate) and has_counts(metric, rival):
        return _pair_of_corpora(metric, full, candidate, rival)
    return _pair_of_numbers(statistics.mean, np.ones(len(candidate)), candidate[metric] / full, rival[metric] / full)


def _pair_of_labels(metric: str, candidate: pd.DataFrame, rival: pd.DataFrame) -> statistics.Pair:
    columns = [candidate["label"], candidate["predicted"], rival["predicted"]]
    numbers, _ = pd.factorize(pd.concat(columns), sort=True)
    truth, first, second = np.split(numbers, 3)
    return statistics.Pair(statistics.SCORES[metric], truth, first, second, (truth == first) != (truth == second))


def _pair_of_numbers(
    score: statistics.Score, truth: np.ndarray, candidate: pd.Series, rival: pd.Series
) -> statistics.Pair:
    first, second = candidate.to_numpy(dtype=float), rival.to_numpy(dtype=float)
    both = ~(np.isnan(first) | np.isnan(second))
    first, second = first[both], second[both]
    return statistics.Pair(score, truth[both], first, second, first != second)


def _pair_of_corpora(metric: str, full: float, candidate: pd.DataFrame, rival: pd.DataFrame) -> statistics.Pair:
    """The scores of two corpora of the same rows; the score of a row says which model is better on it."""
    both = candidate[metric].notna().to_numpy() & rival[metric].notna().to_numpy()
    first, second = candidate[both], rival[both]

    def score(_: np.ndarray, counts: np.ndarray) -> float:
        return text_metrics.corpus_score(metric, counts) / full

    differs = first[metric].to_numpy(dtype=float) != second[metric].to_numpy(dtype=float)
    return statistics.Pair(score, np.ones(len(first)), _counts(metric, first), _counts(metric, second), differs)


def _counts(metric: str, predictions: pd.DataFrame) -> np.ndarray:
    """[rows, counts] of int64."""
    return np.array(predictions[text_metrics.COUNTS[metric]].tolist(), dtype="int64")
