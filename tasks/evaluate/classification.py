"""A classifier beside the untouched base and the probe: labels, how sure it was of them, and where it is wrong.

details.json holds scores a label, the most confident mistakes and the most confused pairs; the plots are the confusion
matrix and the reliability.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from retune.config.params import Evaluate
from retune.data import row_table
from retune.errors import Refused
from retune.evaluation import plots, report, statistics
from retune.models import classifier
from retune.system import stage_io

Predict = Callable[[list[str]], classifier.Predictions]


@dataclass(frozen=True)
class Scored:
    """One model on one set of rows."""

    predicted: list[str]
    confidence: np.ndarray
    scores: dict[str, statistics.Interval]
    seconds: float


def evaluate(rows: pd.DataFrame, predict: Predict, section: Evaluate) -> Scored:
    """What `predict` says of `rows`, and what that is worth."""
    if rows.empty:
        raise Refused("there are no rows to score: the side is empty")
    began = time.perf_counter()
    said = predict(rows["text"].tolist())
    seconds = time.perf_counter() - began
    return Scored(said.labels, said.confidence, _intervals(rows["label"], said, section), seconds)


def _intervals(label: pd.Series, said: classifier.Predictions, section: Evaluate) -> dict[str, statistics.Interval]:
    from retune.evaluation import label_metrics

    draws = statistics.resamples(len(label), section.bootstrap, section.seed)
    return label_metrics.intervals(
        label.tolist(), said.labels, said.confidence, draws, section.confidence, section.bins
    )


def details(rows: pd.DataFrame, scored: Scored, most: int) -> dict[str, Any]:
    """Where the model is wrong: scores a label, confident mistakes, confused pairs; at most `most` of each list."""
    from retune.evaluation import label_metrics

    truth = rows["label"].tolist()
    table = rows[["id", "text", "label"]].assign(predicted=scored.predicted, confidence=scored.confidence)
    wrong = table[table["label"] != table["predicted"]].sort_values(["confidence", "id"], ascending=[False, True])
    pairs = wrong.groupby(["label", "predicted"]).size().sort_values(ascending=False, kind="stable").head(most)
    return {
        "labels": label_metrics.per_label(truth, scored.predicted).to_dict("records"),
        "mistakes": wrong.head(most).to_dict("records"),
        "confused": [
            {"label": pair[0], "predicted": pair[1], "rows": int(count)}
            for pair, count in zip(pairs.index.tolist(), pairs.tolist(), strict=True)
        ],
    }


def summary(candidate: Scored, base: Scored, probe: Scored, rows: int) -> dict[str, Any]:
    """The headline: flat names, so that DVC and MLflow show a column each."""
    told: dict[str, Any] = {"rows": rows}
    for prefix, scored in (("", candidate), ("base_", base), ("probe_", probe)):
        for name, spread in scored.scores.items():
            told |= {
                f"{prefix}{name}": spread.value,
                f"{prefix}{name}_low": spread.low,
                f"{prefix}{name}_high": spread.high,
            }
    told["gain_over_base"] = told["macro_f1"] - told["base_macro_f1"]
    told["gain_over_probe"] = told["macro_f1"] - told["probe_macro_f1"]
    told["seconds"] = round(candidate.seconds, 3)
    told["rows_per_second"] = round(rows / candidate.seconds, 1)
    return told


def report_on(model_folder: Path, rows: pd.DataFrame, section: Evaluate, out: Path) -> None:
    """Score a model folder on `rows`, and write into `out` what the shell of evaluation promises."""
    fine_tuned = classifier.load(model_folder)
    untouched = classifier.load_probe(model_folder)
    labels = fine_tuned.manifest.labels

    candidate = evaluate(rows, lambda texts: fine_tuned.predict(texts, section.batch_size), section)
    vectors = untouched.embed(rows["text"].tolist(), section.batch_size)  # once, for base and probe alike
    names = classifier.head_of_names(labels, lambda texts: untouched.embed(texts, section.batch_size))
    base = evaluate(rows, lambda _: classifier.predict_labels(vectors, names, labels), section)
    probe = evaluate(rows, lambda _: classifier.predict_labels(vectors, untouched.head, labels), section)

    headline = summary(candidate, base, probe, len(rows))
    found = details(rows, candidate, section.examples)
    _write_predictions(rows, {"": candidate, "base_": base, "probe_": probe}, out / "predictions.parquet")
    _draw(rows, {"candidate": candidate, "base": base, "probe": probe}, section, out)
    stage_io.write_json(found, out / "details.json")
    report.write(
        out / "report.html", headline, found, asdict(fine_tuned.manifest), sorted((out / "plots").rglob("*.png"))
    )
    stage_io.write_json(headline, out / "evaluate.json")
    for name in statistics.SCORES:
        told = "  ".join(f"{who or 'candidate_'}{headline[who + name]:.4f}" for who in ("", "base_", "probe_"))
        print(f"{name}: {told}", flush=True)


def _write_predictions(rows: pd.DataFrame, models: dict[str, Scored], path: Path) -> None:
    table = rows[["id", "label"]].copy()
    for prefix, scored in models.items():
        table[f"{prefix}predicted"] = scored.predicted
        table[f"{prefix}confidence"] = scored.confidence.astype("float64")
    row_table.write(table, path)


def _draw(rows: pd.DataFrame, models: dict[str, Scored], section: Evaluate, out: Path) -> None:
    from retune.evaluation import label_metrics

    truth = rows["label"].tolist()
    plots.confusion(
        label_metrics.confusion(truth, models["candidate"].predicted), out / "plots" / "scores" / "confusion.png"
    )
    lines = {
        name: (np.array(truth) == np.array(scored.predicted), scored.confidence) for name, scored in models.items()
    }
    plots.reliability(lines, section.bins, out / "plots" / "scores" / "reliability.png")
