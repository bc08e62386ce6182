"""What a model of each task is measured by, and how a table of what was said is read for it.

    classify    id, label, predicted, confidence
    instruct    id, label, tokens, predicted, confidence, nll, rouge_l, bleu, chrf, exact_match,
                bleu_counts, chrf_counts
    prefer      the same of the chosen answer; rejected_tokens, rejected_nll, preferred

BLEU and chrF are corpus scores, from the counts of all rows (`text_metrics`). A table without the columns of counts is
older than these: its record holds the mean of the scores of the rows, and so do `recompute_scores` and `paired_scores`,
so that an old version is verified by the arithmetic that its record was made with.

One row of the table is one test row. The columns of another model on the same rows stand beside them under a prefix,
`base_predicted` or `probe_predicted`. Every score is a function of rows, so that a bootstrap can draw them again.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from retune.evaluation import statistics, text_metrics

ANSWERS = {
    "perplexity": "perplexity",
    "rouge_l": "ROUGE-L",
    "chrf": "chrF",
    "bleu": "BLEU",
    "exact_match": "exact",
}
METRIC_TITLES = {  # of evaluate.json, in the order in which a person reads them
    "classify": {"accuracy": "accuracy", "macro_f1": "macro-F1", "calibration_error": "calibration error"},
    "prefer": {"preferred": "preferred", **ANSWERS},  # before instruct, whose first score it has too (`headline`)
    "instruct": ANSWERS,
}
BASELINES = {  # who is scored beside the model, by the prefix of its columns
    "classify": {"probe_": "probe: logistic regression on the frozen base", "base_": "base: nearest label name"},
    "instruct": {"base_": "base, untouched, with the same template"},
    "prefer": {"base_": "base, untouched, with the same template"},
}
PRIMARY_METRIC = {"classify": "macro_f1", "instruct": "perplexity", "prefer": "preferred"}  # if only one can be shown
SCALES = {"bleu": 100.0, "chrf": 100.0}  # what counts as 1 for the gate
UNITS = {"perplexity": " nats a token"}  # of a gain, where it is no share


@dataclass(frozen=True)
class Pair:
    """Two models on the same rows, for `scores.compare`."""

    score: statistics.Score
    truth: np.ndarray
    ours: np.ndarray
    theirs: np.ndarray
    differ: np.ndarray  # rows on which one of the two is better


def predictions_of(said: pd.DataFrame, prefix: str) -> pd.DataFrame:
    """The table as if the model under `prefix` stood in it alone."""
    own = {name: name.removeprefix(prefix) for name in said.columns if name.startswith(prefix)}
    shared = [name for name in ("id", "label", "tokens", "rejected_tokens", "source") if name in said]
    return said[[*shared, *own]].rename(columns=own) if prefix else said


def preferred(said: pd.DataFrame) -> pd.Series:
    """1.0 where the chosen answer is likelier than the rejected, by mean log-probability a token; else 0.0.

    A token, since of the sums the shorter answer would win.
    """
    return (said["nll"] / said["tokens"] < said["rejected_nll"] / said["rejected_tokens"]).astype("float64")


def paired_scores(metric: str, ours: pd.DataFrame, theirs: pd.DataFrame) -> Pair:
    if metric in statistics.SCORES:
        return _of_labels(metric, ours, theirs)
    if metric == "perplexity":
        tokens = ours["tokens"].to_numpy(dtype=float)
        return _of_numbers(statistics.log_likelihood, tokens, ours["nll"], theirs["nll"])
    scale = SCALES.get(metric, 1.0)
    if has_counts(metric, ours) and has_counts(metric, theirs):
        return _of_corpora(metric, scale, ours, theirs)
    return _of_numbers(statistics.mean, np.ones(len(ours)), ours[metric] / scale, theirs[metric] / scale)


def _of_labels(metric: str, ours: pd.DataFrame, theirs: pd.DataFrame) -> Pair:
    numbers, _ = pd.factorize(pd.concat([ours["label"], ours["predicted"], theirs["predicted"]]), sort=True)
    truth, first, second = np.split(numbers, 3)
    return Pair(statistics.SCORES[metric], truth, first, second, (truth == first) != (truth == second))


def _of_numbers(score: statistics.Score, truth: np.ndarray, ours: pd.Series, theirs: pd.Series) -> Pair:
    """Rows for which nothing was written, by either, count for neither."""
    first, second = ours.to_numpy(dtype=float), theirs.to_numpy(dtype=float)
    there = ~(np.isnan(first) | np.isnan(second))
    first, second = first[there], second[there]
    return Pair(score, truth[there], first, second, first != second)


def has_counts(metric: str, predictions: pd.DataFrame) -> bool:
    """Whether the table holds the counts of the rows that this score of the whole corpus follows from."""
    return text_metrics.COUNTS.get(metric) in predictions


def counts_of(metric: str, predictions: pd.DataFrame) -> np.ndarray:
    """[rows for which a text was written, counts] of int64."""
    return np.array(predictions[text_metrics.COUNTS[metric]].dropna().tolist(), dtype="int64")


def _of_corpora(metric: str, scale: float, ours: pd.DataFrame, theirs: pd.DataFrame) -> Pair:
    """The scores of both corpora of the rows for which both wrote; the scores of a row say who is better on it."""
    both = (ours[metric].notna().to_numpy()) & (theirs[metric].notna().to_numpy())
    ours, theirs = ours[both], theirs[both]

    def score(_: np.ndarray, counts: np.ndarray) -> float:
        return text_metrics.corpus_score(metric, counts) / scale

    differ = ours[metric].to_numpy(dtype=float) != theirs[metric].to_numpy(dtype=float)
    return Pair(score, np.ones(len(ours)), counts_of(metric, ours), counts_of(metric, theirs), differ)


def headline(found: dict[str, float]) -> dict[str, float]:
    """Of the metrics of a version, those that its task is judged by, under their titles."""
    names = next((names for names in METRIC_TITLES.values() if next(iter(names)) in found), {})
    return {title: found[name] for name, title in names.items() if name in found}


def without_texts(task: str, said: pd.DataFrame) -> pd.DataFrame:
    """The table as a version carries it. What people wrote, and what was written to them, stays in the DVC store."""
    if task == "classify":
        return said
    texts = [name for name in said if name in ("label", "rejected") or str(name).endswith("predicted")]
    return said.drop(columns=texts)


def recompute_scores(task: str, said: pd.DataFrame, bins: int) -> dict[str, float]:
    """The headline scores once more, from the rows alone; only those for which the table has what it takes.

    bins: of the calibration error.
    """
    if task == "classify":
        numbers, _ = pd.factorize(pd.concat([said["label"], said["predicted"]]), sort=True)
        truth, predicted = np.split(numbers, 2)
        sure = said["confidence"].to_numpy()
        error = statistics.calibration_error(truth == predicted, sure, bins)
        return {
            **{name: score(truth, predicted) for name, score in statistics.SCORES.items()},
            "calibration_error": error,
        }
    tokens, nll = said["tokens"].to_numpy(float), said["nll"].to_numpy(float)
    scores = {"perplexity": statistics.perplexity(tokens, nll)}
    if "rejected_nll" in said:
        scores["preferred"] = float(preferred(said).mean())
    return scores | {
        name: text_score(name, said) for name in METRIC_TITLES[task] if name in said and name not in scores
    }


def text_score(metric: str, predictions: pd.DataFrame) -> float:
    """The score of all written texts: of the corpus where the table has its counts, else the mean over the rows."""
    if has_counts(metric, predictions):
        return text_metrics.corpus_score(metric, counts_of(metric, predictions))
    return float(predictions[metric].dropna().mean())


def has_labels(params: dict[str, Any]) -> bool:
    """Whether a row's label is one of few, so that rows are counted by it."""
    return task_of(params) == "classify"


def task_of(params: dict[str, Any]) -> str:
    """The task of a record, by its params; records from before there was a choice are of classifiers."""
    return str(params.get("task", "classify"))
