"""What a score is: metrics as `evaluate.Metric` classes over scikit-learn. Door to evaluate and sklearn.metrics.

`evaluate.load("accuracy")` asks the hub and would run a script of that name from the working directory; these
classes need neither. Importing this module takes seconds: only the evaluate stage does.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

# Both are read at import. Left alone, evaluate makes folders in the home folder.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_METRICS_CACHE", str(Path(".retune/cache/metrics").resolve()))

import datasets
import evaluate
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

from tasks.core import scores


class _LabelMetric(evaluate.Metric):
    """A metric of label names, predicted and true."""

    def _info(self) -> evaluate.MetricInfo:
        word = datasets.Value("string")
        return evaluate.MetricInfo(
            description=type(self).__doc__ or "",
            citation="",
            inputs_description="predictions and references: label names, row by row",
            features=datasets.Features({"predictions": word, "references": word}),
        )


class Accuracy(_LabelMetric):
    """The share of rows whose predicted label is the true one."""

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        return {"accuracy": float(accuracy_score(references, predictions))}


class MacroF1(_LabelMetric):
    """The mean F1 of the labels that occur in the truth, each label with the same weight."""

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        present = sorted(set(references))
        value = f1_score(references, predictions, labels=present, average="macro", zero_division=0)
        return {"macro_f1": float(value)}


class CalibrationError(evaluate.Metric):
    """The mean distance of confidence and accuracy over equal-width bins (Guo et al. 2017, section 2)."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=type(self).__doc__ or "",
            citation="",
            inputs_description="predictions: confidence of the predicted label; references: whether it was right",
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("bool")}
            ),
        )

    def _compute(self, predictions: list[float], references: list[bool], bins: int = 15) -> dict[str, float]:
        value = scores.calibration_error(np.array(references), np.array(predictions), bins)
        return {"calibration_error": value}


def summary(truth: list[str], predicted: list[str], confidence: np.ndarray, bins: int) -> dict[str, float]:
    """Every headline score of one model on one set of rows."""
    right = np.array(truth) == np.array(predicted)
    found: dict[str, float] = {}
    in_memory = {"keep_in_memory": True}  # else evaluate leaves lock files in the home folder
    for metric in (Accuracy(**in_memory), MacroF1(**in_memory)):
        found |= metric.compute(predictions=predicted, references=truth)
    found |= CalibrationError(**in_memory).compute(predictions=confidence, references=right, bins=bins)
    return found


def per_label(truth: list[str], predicted: list[str]) -> pd.DataFrame:
    """One row a label that occurs in the truth or the predictions: precision, recall, f1, rows."""
    labels = sorted(set(truth) | set(predicted))
    columns: Any = precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0)
    table = pd.DataFrame(dict(zip(("precision", "recall", "f1", "rows"), columns, strict=True)))
    table.insert(0, "label", labels)
    return table


def confusion(truth: list[str], predicted: list[str]) -> pd.DataFrame:
    """Rows: the true label; columns: the predicted one; values: how many."""
    labels = sorted(set(truth) | set(predicted))
    return pd.DataFrame(confusion_matrix(truth, predicted, labels=labels), index=labels, columns=labels)
