"""Metrics of predicted labels, as `evaluate.Metric`. Adapter of evaluate and sklearn.metrics.

`evaluate.load("accuracy")` asks the hub and would run a script of that name from the working directory; FunctionMetric
needs neither. Importing this module takes seconds: only the evaluate stage does.
"""

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

# evaluate reads both at import; otherwise it makes folders in the home folder.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_METRICS_CACHE", str(Path(".retune/cache/metrics").resolve()))

import datasets
import evaluate
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from retune.evaluation import statistics
from retune.evaluation.statistics import Interval, Score


class FunctionMetric(evaluate.Metric):  # type: ignore[misc, unused-ignore]
    """A metric whose value is a function of references and predictions: the function that the bootstrap resamples."""

    def __init__(self, name: str, function: Score, description: str, references: str, predictions: str) -> None:
        """function: [rows] references, [rows] predictions -> score; references, predictions: type of their values."""
        self.score_name, self.function, self.description_text = name, function, description
        self.value_types = {"predictions": predictions, "references": references}
        super().__init__(keep_in_memory=True)  # else evaluate leaves lock files in the home folder

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.description_text,
            citation="",
            inputs_description="predictions and references, row by row",
            features=datasets.Features({name: datasets.Value(kind) for name, kind in self.value_types.items()}),
        )

    def _compute(self, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        return {self.score_name: self.function(np.array(references), np.array(predictions))}


def metrics(bins: int) -> dict[str, FunctionMetric]:
    """Every headline metric of a classifier by its name. bins: of the calibration error."""
    calibration = partial(statistics.calibration_error, bins=bins)
    return {
        "accuracy": FunctionMetric(
            "accuracy", statistics.accuracy, "Share of rows whose predicted label is the true one", "int64", "int64"
        ),
        "macro_f1": FunctionMetric(
            "macro_f1", statistics.macro_f1, "Mean F1 of the labels that occur in the truth", "int64", "int64"
        ),
        "calibration_error": FunctionMetric(
            "calibration_error",
            calibration,
            "Mean distance of confidence and accuracy over equal-width bins (Guo et al. 2017, section 2)",
            "bool",
            "float64",
        ),
    }


def intervals(
    truth: list[str], predictions: list[str], confidences: np.ndarray, draws: np.ndarray, confidence: float, bins: int
) -> dict[str, Interval]:
    """Every headline score of one model with its bootstrap interval.

    confidences: [rows] of the predicted labels; draws: of statistics.resamples; confidence: of the intervals.
    """
    numbers, _ = pd.factorize(np.array([*truth, *predictions], dtype=object), sort=True)
    labels, guesses = np.split(numbers, 2)
    inputs = dict.fromkeys(statistics.SCORES, (labels, guesses))
    inputs["calibration_error"] = (labels == guesses, confidences)
    return {name: _interval(metric, *inputs[name], draws, confidence) for name, metric in metrics(bins).items()}


def _interval(
    metric: FunctionMetric, references: np.ndarray, predictions: np.ndarray, draws: np.ndarray, confidence: float
) -> Interval:
    scores = metric.compute(references=references, predictions=predictions)
    spread = statistics.interval(lambda rows: metric.function(references[rows], predictions[rows]), draws, confidence)
    return Interval(scores[metric.score_name], spread.low, spread.high)


def per_label(truth: list[str], predictions: list[str]) -> pd.DataFrame:
    """One row for each label of the truth or the predictions: label, precision, recall, f1, rows."""
    labels = sorted(set(truth) | set(predictions))
    columns: Any = precision_recall_fscore_support(truth, predictions, labels=labels, zero_division=0)
    table = pd.DataFrame(dict(zip(("precision", "recall", "f1", "rows"), columns, strict=True)))
    table.insert(0, "label", labels)
    return table


def confusion(truth: list[str], predictions: list[str]) -> pd.DataFrame:
    """[true label, predicted label] number of rows."""
    labels = sorted(set(truth) | set(predictions))
    return pd.DataFrame(confusion_matrix(truth, predictions, labels=labels), index=labels, columns=labels)
