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

from retune.evaluation import statistics


class RowMetric(evaluate.Metric):
    """A metric over rows, of one prediction and one reference each, whose kinds a subclass may name."""

    kinds = ("string", "string")
    told = "predictions and references: label names, row by row"

    def _info(self) -> evaluate.MetricInfo:
        predictions, references = map(datasets.Value, self.kinds)
        return evaluate.MetricInfo(
            description=type(self).__doc__ or "",
            citation="",
            inputs_description=self.told,
            features=datasets.Features({"predictions": predictions, "references": references}),
        )

    @classmethod
    def of(cls, predictions: Any, references: Any, **settings: Any) -> dict[str, float]:
        """The scores of these rows, by name."""
        in_memory = cls(keep_in_memory=True)  # else evaluate leaves lock files in the home folder
        return in_memory.compute(predictions=predictions, references=references, **settings)


class Accuracy(RowMetric):
    """The share of rows whose predicted label is the true one."""

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        return {"accuracy": float(accuracy_score(references, predictions))}


class MacroF1(RowMetric):
    """The mean F1 of the labels that occur in the truth, each label with the same weight."""

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        present = sorted(set(references))
        value = f1_score(references, predictions, labels=present, average="macro", zero_division=0)
        return {"macro_f1": float(value)}


class CalibrationError(RowMetric):
    """The mean distance of confidence and accuracy over equal-width bins (Guo et al. 2017, section 2)."""

    kinds = ("float64", "bool")
    told = "predictions: confidence of the predicted label; references: whether it was right"

    def _compute(self, predictions: list[float], references: list[bool], bins: int = 15) -> dict[str, float]:
        value = statistics.calibration_error(np.array(references), np.array(predictions), bins)
        return {"calibration_error": value}


def summary(truth: list[str], predicted: list[str], confidence: np.ndarray, bins: int) -> dict[str, float]:
    """Every headline score of one model on one set of rows."""
    right = np.array(truth) == np.array(predicted)
    found = Accuracy.of(predicted, truth) | MacroF1.of(predicted, truth)
    return found | CalibrationError.of(confidence, right, bins=bins)


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
