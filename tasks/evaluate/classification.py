"""A classifier beside the untouched base and the probe: labels, their confidence, and the mistakes.

details.json holds scores of each label, the most confident mistakes, the most confused pairs, and what the codes in
the pictures stand for; the plots are the confusion matrix and the reliability diagram.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from retune.config.classification import Evaluate
from retune.data import row_table, text_keys
from retune.errors import Refused
from retune.evaluation import golden_cases, measures, plots, report, slice_scores, statistics
from retune.models import classifier
from retune.system import stage_io
from tasks.evaluate import automation, golden, memorisation, robustness, slice_search
from tasks.evaluate.memorisation import Opinion

Predict = Callable[[list[str]], classifier.Predictions]


@dataclass(frozen=True)
class ModelScores:
    """One model on one set of rows."""

    predictions: list[str]  # [rows] labels
    confidence: np.ndarray  # [rows]
    scores: dict[str, statistics.Interval]
    seconds: float


def evaluate(rows: pd.DataFrame, predict: Predict, evaluate_config: Evaluate) -> ModelScores:
    """The predictions of `predict` for `rows`, and their scores."""
    if rows.empty:
        raise Refused("There are no rows to score: the test split is empty. Add rows, or a larger split.test_share")
    start = time.perf_counter()
    predictions = predict(rows["text"].tolist())
    seconds = time.perf_counter() - start
    scores = _intervals(rows["label"].tolist(), predictions.labels, predictions.confidence, evaluate_config)
    return ModelScores(predictions.labels, predictions.confidence, scores, seconds)


def _intervals(
    truth: list[str], labels: list[str], confidence: np.ndarray, evaluate_config: Evaluate
) -> dict[str, statistics.Interval]:
    from retune.evaluation import label_metrics

    draws = statistics.resamples(len(truth), evaluate_config.bootstrap, evaluate_config.seed)
    return label_metrics.intervals(truth, labels, confidence, draws, evaluate_config.confidence, evaluate_config.bins)


def scores_of_slices(rows: pd.DataFrame, candidate: ModelScores, evaluate_config: Evaluate) -> list[dict[str, Any]]:
    truth, labels = rows["label"].to_numpy(), np.array(candidate.predictions, dtype=object)

    def score(places: np.ndarray) -> dict[str, statistics.Interval]:
        return _intervals(
            truth[places].tolist(), labels[places].tolist(), candidate.confidence[places], evaluate_config
        )

    return slice_scores.of_rows(rows, score)


def details(rows: pd.DataFrame, candidate: ModelScores, limit: int) -> dict[str, Any]:
    """Where the model is wrong: scores of labels, confident mistakes, confused pairs; at most `limit` of each list."""
    from retune.evaluation import label_metrics

    truth = rows["label"].tolist()
    table = rows[["id", "text", "label"]].assign(predicted=candidate.predictions, confidence=candidate.confidence)
    wrong = table[table["label"] != table["predicted"]].sort_values(["confidence", "id"], ascending=[False, True])
    pairs = wrong.groupby(["label", "predicted"]).size().sort_values(ascending=False, kind="stable").head(limit)
    return {
        "labels": label_metrics.per_label(truth, candidate.predictions).to_dict("records"),
        "mistakes": wrong.head(limit).to_dict("records"),
        "confused": [
            {"label": pair[0], "predicted": pair[1], "rows": int(count)}
            for pair, count in zip(pairs.index.tolist(), pairs.tolist(), strict=True)
        ],
    }


def summary(candidate: ModelScores, base: ModelScores, probe: ModelScores, rows: int) -> dict[str, float]:
    """The headline: flat names, so that DVC and MLflow show a column each."""
    headline: dict[str, float] = {"rows": rows}
    for prefix, model in (("", candidate), ("base_", base), ("probe_", probe)):
        for name, spread in model.scores.items():
            headline |= {
                f"{prefix}{name}": spread.value,
                f"{prefix}{name}_low": spread.low,
                f"{prefix}{name}_high": spread.high,
            }
    headline["gain_over_base"] = headline["macro_f1"] - headline["base_macro_f1"]
    headline["gain_over_probe"] = headline["macro_f1"] - headline["probe_macro_f1"]
    headline["seconds"] = round(candidate.seconds, 3)
    headline["rows_per_second"] = round(rows / candidate.seconds, 1)
    return headline


def report_on(
    model_folder: Path,
    rows: pd.DataFrame,
    validation: pd.DataFrame | None,
    learned: Sequence[Path],
    others: Sequence[str],
    evaluate_config: Evaluate,
    out: Path,
) -> None:
    """Score a model folder on `rows`, and write into `out` the files that `tasks.evaluate` names.

    validation: what a candidate said of rows that it had not learned from; None for any other model;
    learned: files of the rows that a candidate learned from; others: texts of none of the labels.
    """
    model, batch_size = classifier.load(model_folder), evaluate_config.batch_size
    untouched = classifier.load_probe(model_folder)
    labels, ask = model.manifest.labels, partial(model.predict, batch_size=batch_size)

    with stage_io.heartbeat(f"scoring {len(rows):,} rows of {len(labels):,} labels"):
        start = time.perf_counter()
        candidate_vectors = model.embed(rows["text"].tolist(), batch_size)
        seconds = time.perf_counter() - start
        candidate = evaluate(rows, lambda _: model.answer(candidate_vectors), evaluate_config)
        candidate = replace(candidate, seconds=candidate.seconds + seconds)
        vectors = untouched.embed(rows["text"].tolist(), batch_size)  # once, for base and probe alike
        names = classifier.head_of_names(
            text_keys.label_names(labels), lambda texts: untouched.embed(texts, batch_size)
        )
        base = evaluate(rows, lambda _: classifier.predict_labels(vectors, names, labels), evaluate_config)
        probe = evaluate(rows, lambda _: classifier.predict_labels(vectors, untouched.head, labels), evaluate_config)

    golden_results = golden.ask(evaluate_config.golden, ask, learned)
    headline = summary(candidate, base, probe, len(rows)) | golden_cases.headline(golden_results)
    report_details = details(rows, candidate, evaluate_config.examples) | golden_cases.as_details(golden_results)
    sections, changed_rows = _sections(rows, model, candidate, evaluate_config)
    if learned:
        train = row_table.read(learned[0])
        opinions = Opinion(model, model.head, candidate_vectors), Opinion(untouched, names, vectors)
        sections.append(memorisation.section(train, rows, *opinions, evaluate_config))
    headline |= measures.headline(sections)
    report_details |= measures.details(sections)
    if slices := scores_of_slices(rows, candidate, evaluate_config):
        report_details["slices"] = slices
    predictions = _predictions(rows, {"": candidate, "base_": base, "probe_": probe})
    automated = automation.report_on(
        predictions, validation, model_folder, ask, evaluate_config.automation, others, out
    )
    headline |= automated.headline
    report_details |= {"automation": automated.details} if automated.details else {}
    row_table.write(predictions.assign(route=automated.routes).join(changed_rows), out / "predictions.parquet")
    if codes := _draw(rows, {"candidate": candidate, "base": base, "probe": probe}, evaluate_config.bins, out):
        report_details["codes"] = codes
    stage_io.write_json(report_details, out / "details.json")
    report.write(
        out / "report.html", headline, report_details, asdict(model.manifest), sorted((out / "plots").rglob("*.png"))
    )
    stage_io.write_json(headline, out / "evaluate.json")
    for name in statistics.SCORES:
        rivals = "  ".join(f"{rival} {headline[f'{rival}_{name}']:.4f}" for rival in ("base", "probe"))
        print(f"{name}: {headline[name]:.4f}  {rivals}", flush=True)


def _sections(
    rows: pd.DataFrame, model: classifier.Classifier, candidate: ModelScores, evaluate_config: Evaluate
) -> tuple[list[measures.Section], pd.DataFrame]:
    """What is asked beside the scores, and the columns of predictions.parquet for changed rows."""
    right = (np.array(candidate.predictions, dtype=object) == rows["label"].to_numpy()).astype(float)

    def ask(changed: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
        labels = model.predict(changed["text"].tolist(), evaluate_config.batch_size).labels
        return np.array(labels, dtype=object) == changed["label"].to_numpy(), labels

    searched = slice_search.section(rows, rows["text"].tolist(), 1 - right, "accuracy", evaluate_config)
    changes, columns = robustness.section(rows, right, candidate.predictions, "accuracy", ask, evaluate_config)
    return [searched, changes], columns


def _predictions(rows: pd.DataFrame, models: dict[str, ModelScores]) -> pd.DataFrame:
    table = rows[["id", "label"]].copy()
    for prefix, model in models.items():
        table[f"{prefix}predicted"] = model.predictions
        table[f"{prefix}confidence"] = model.confidence.astype("float64")
    return table


def _draw(rows: pd.DataFrame, models: dict[str, ModelScores], bins: int, out: Path) -> dict[str, str]:
    """Returns code -> label of the labels that the pictures do not show in full."""
    from retune.evaluation import label_metrics

    truth, folder = rows["label"].tolist(), out / "plots" / "scores"
    table = label_metrics.confusion(truth, models["candidate"].predictions)
    codes = plots.confusion(table, folder / "confusion.png")
    lines = {name: (np.array(truth) == np.array(model.predictions), model.confidence) for name, model in models.items()}
    plots.reliability(lines, bins, folder / "reliability.png")
    return codes
