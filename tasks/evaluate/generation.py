"""A causal LM beside its untouched base: how likely each finds the references, and what each writes itself.

Of pairs the reference is the chosen answer. Each model scores the rejected answer too, and the share of pairs whose
chosen answer is the likelier is the headline of task prefer.

Likelihood is measured on every row; answers are written for `evaluate.generate_rows` of them, drawn by the hash of
their ids, so that the champion answers the same ones. details.json shows answers side by side; the plots are the
likelihood of the references and the likeness of the answers to them.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from retune.config.generation import GenerationEvaluate, Judge
from retune.data import messages, row_table
from retune.errors import Refused
from retune.evaluation import (
    answer_measure,
    golden_cases,
    json_validity,
    judge_endpoint,
    llm_judge,
    measures,
    plots,
    report,
    slice_scores,
    statistics,
    task_metrics,
)
from retune.models import causal_lm
from retune.models.manifest import CausalLMManifest
from retune.system import stage_io
from tasks.evaluate import answer_automation, golden, model_answers, robustness, slice_search, verbatim_answers

TEXT_SCORES = ("rouge_l", "chrf", "bleu", "exact_match", "json_valid")


@dataclass(frozen=True)
class Answers:
    """What the candidate and its base say of the rows."""

    predictions: pd.DataFrame  # predictions.parquet
    questions: pd.DataFrame  # of `model_answers.retention_table`
    seconds: float  # of the candidate, for writing
    golden: list[golden_cases.CaseResult]
    changes: measures.Section  # what changed prompts cost the candidate
    memorised: list[measures.Section]  # of `verbatim_answers`; none without the rows that it learned from
    validation: pd.DataFrame | None  # of `answer_automation.answer_validation`
    merge: dict[str, float]  # of `model_answers.compare_with_merged`
    manifest: CausalLMManifest


def report_on(
    model_folder: Path,
    rows: pd.DataFrame,
    validation: pd.DataFrame | None,
    learned: Sequence[Path],
    evaluate_config: GenerationEvaluate,
    out: Path,
) -> None:
    """Score a model folder on `rows`, and write into `out` the files that `tasks.evaluate` names.

    validation: the rows of val that a candidate has not learned from, by id; None for any other model;
    learned: files of the rows of train and val.
    """
    answer_measure.require(evaluate_config)
    if rows.empty:
        raise Refused("There are no rows to score: the test split is empty. Add rows, or a larger split.test_share")
    rows = rows_to_score(rows)
    answers = ask_models(model_folder, rows, _unseen_rows(validation, learned), learned, evaluate_config)
    predictions = answers.predictions
    scores = summary(predictions, answers.seconds, evaluate_config) | retention_scores(answers.questions)
    sections = [search_slices(rows, predictions, evaluate_config), answers.changes, *answers.memorised]
    scores |= measures.headline(sections)
    report_details = details(rows, predictions, evaluate_config.examples) | measures.details(sections)
    report_details["general"] = answers.questions.to_dict("list")
    if slices := scores_of_slices(rows, predictions, evaluate_config):
        report_details["slices"] = slices
    if evaluate_config.judge.url:
        verdicts = judge_answers(rows, predictions, evaluate_config.judge)
        report_details["judge"] = {**asdict(evaluate_config.judge), "verdicts": verdicts.to_dict("records")}
        judge_scores = asdict(llm_judge.summary(verdicts["said"].tolist()))
        scores |= {f"judge_{name}": value for name, value in judge_scores.items()}
    scores |= answers.merge | golden_cases.headline(answers.golden)
    report_details |= golden_cases.as_details(answers.golden)
    automated, of_rows = answer_automation.report_on(
        predictions, answers.validation, model_folder, evaluate_config, out
    )
    scores |= automated.headline
    report_details |= of_rows | ({"automation": automated.details} if automated.details else {})
    row_table.write(predictions.assign(route=automated.routes), out / "predictions.parquet")
    _draw(predictions, out)
    stage_io.write_json(report_details, out / "details.json")
    pictures = sorted((out / "plots").rglob("*.png"))
    report.write(out / "report.html", scores, report_details, asdict(answers.manifest), pictures)
    stage_io.write_json(scores, out / "evaluate.json")
    for name, title in task_metrics.titles_in(scores).items():
        print(f"{title}: {scores[name]:.4f}  base {scores[f'base_{name}']:.4f}", flush=True)


def rows_to_score(rows: pd.DataFrame) -> pd.DataFrame:
    """Of preferences the pairs; where there are none, the answers that people liked. Raises Refused without either."""
    if row_table.REJECTED not in rows:
        return rows
    liked = rows["label"] != messages.NO_ANSWER
    pairs = liked & (rows[row_table.REJECTED] != messages.NO_ANSWER)
    scored = rows[pairs] if pairs.any() else rows[liked].drop(columns=row_table.REJECTED)
    if scored.empty:
        raise Refused(
            f"people disliked all {len(rows)} answers of the test split, so none is a reference: add rows that they "
            "liked, or a larger split.test_share"
        )
    if len(scored) < len(rows):
        print(f"scored {len(scored)} of {len(rows)} test rows: the others have no answer to compare", flush=True)
    return scored.reset_index(drop=True)


def ask_models(
    model_folder: Path,
    rows: pd.DataFrame,
    unseen: pd.DataFrame | None,
    learned: Sequence[Path],
    evaluate_config: GenerationEvaluate,
) -> Answers:
    """The candidate first, then its base: the memory of one is free before the other is loaded."""
    predictions = rows[["id", "label"]].copy()
    candidate = causal_lm.load(model_folder)
    predictions, seconds = _predict(candidate, "", predictions, rows, evaluate_config)
    right = model_answers.retention_answers(candidate, evaluate_config)
    predict = partial(candidate.predict, batch_size=evaluate_config.batch_size)
    golden_results = golden.ask(evaluate_config.golden, predict, learned)
    changes, changed_rows = change_prompts(candidate, rows, predictions, evaluate_config)
    predictions = answer_automation.judge_test(candidate, rows, predictions.join(changed_rows), evaluate_config)
    validation = None if unseen is None else answer_automation.answer_validation(candidate, unseen, evaluate_config)
    memorised = [
        verbatim_answers.section(row_table.read(path), rows, candidate, evaluate_config) for path in learned[:1]
    ]
    manifest = candidate.manifest
    merge = model_answers.compare_with_merged(
        candidate, rows[model_answers.rows_to_answer(rows["id"], evaluate_config)]
    )
    del candidate, predict
    base = causal_lm.load_base_model(model_folder)
    predictions, _ = _predict(base, "base_", predictions, rows, evaluate_config)
    base_right = model_answers.retention_answers(base, evaluate_config)
    questions = model_answers.retention_table(evaluate_config, right, base_right)
    return Answers(predictions, questions, seconds, golden_results, changes, memorised, validation, merge, manifest)


def _unseen_rows(validation: pd.DataFrame | None, learned: Sequence[Path]) -> pd.DataFrame | None:
    """The rows of val that the model has not learned from; None for any other than a candidate."""
    if validation is None:
        return None
    val = pd.concat([validation.head(0).assign(text=""), *map(row_table.read, learned[1:])])
    return val[val["id"].isin(validation["id"])].reset_index(drop=True)


def _predict(
    model: causal_lm.CausalLM,
    prefix: str,
    predictions: pd.DataFrame,
    rows: pd.DataFrame,
    evaluate_config: GenerationEvaluate,
) -> tuple[pd.DataFrame, float]:
    """`predictions` with the columns of this model, and the seconds that it took to write its answers."""
    table, size = predictions.copy(), evaluate_config.batch_size
    table["tokens"], table[f"{prefix}nll"] = model_answers.likelihoods(model, rows, "label", size)
    if row_table.REJECTED in rows:
        rejected = model_answers.likelihoods(model, rows, row_table.REJECTED, size)
        table["rejected_tokens"], table[f"{prefix}rejected_nll"] = rejected
        table[f"{prefix}preferred"] = task_metrics.preferred(task_metrics.predictions_of(table, prefix))
    schema = json_validity.read_schema(evaluate_config.json_schema)
    start = time.perf_counter()
    rows_to_answer = rows[model_answers.rows_to_answer(rows["id"], evaluate_config)]
    answers = model_answers.write_answers(model, rows_to_answer, size, schema)
    return table.join(answers.add_prefix(prefix)), time.perf_counter() - start


def judge_answers(rows: pd.DataFrame, predictions: pd.DataFrame, judge_config: Judge) -> pd.DataFrame:
    """The verdicts of the judge on each pair of answers. Not reproducible: another day it may say something else."""
    prompts = rows.set_index("id")["text"].map(lambda text: messages.words(messages.parse(text) or []))
    answers = predictions[predictions["predicted"].notna()]
    pairs = pd.DataFrame(
        {
            "id": answers["id"],
            "prompt": prompts[answers["id"]].to_numpy(),
            "ours": answers["predicted"],
            "theirs": answers["base_predicted"],
        }
    )
    with judge_endpoint.connect(judge_config, lambda message: print(message, flush=True)) as ask:
        return llm_judge.judge_pairs(pairs, ask, judge_config.criterion)


def summary(predictions: pd.DataFrame, seconds: float, evaluate_config: GenerationEvaluate) -> dict[str, float]:
    """The headline: flat names, so that DVC and MLflow show a column each. seconds: for writing the answers."""
    scores: dict[str, float] = {"rows": len(predictions), "rows_written": int(predictions["predicted"].notna().sum())}
    for prefix in ("", "base_"):
        for name, spread in intervals(task_metrics.predictions_of(predictions, prefix), evaluate_config).items():
            scores |= {
                f"{prefix}{name}": spread.value,
                f"{prefix}{name}_low": spread.low,
                f"{prefix}{name}_high": spread.high,
            }
    scores["gain_over_base"] = (
        scores["preferred"] - scores["base_preferred"]
        if "preferred" in predictions
        else math.log(scores["base_perplexity"] / scores["perplexity"])  # nats a token
    )
    scores["seconds"] = round(seconds, 3)
    return scores


def scores_of_slices(
    rows: pd.DataFrame, predictions: pd.DataFrame, evaluate_config: GenerationEvaluate
) -> list[dict[str, Any]]:
    """Answers are written for some rows only: a slice without any has the likelihood alone."""

    def score(places: np.ndarray) -> dict[str, statistics.Interval]:
        part = predictions.iloc[places]
        without_answers = part["predicted"].isna().all()
        return intervals(
            part.drop(columns=[*TEXT_SCORES], errors="ignore") if without_answers else part, evaluate_config
        )

    return slice_scores.of_rows(rows, score)


def change_prompts(
    model: causal_lm.CausalLM, rows: pd.DataFrame, predictions: pd.DataFrame, evaluate_config: GenerationEvaluate
) -> tuple[measures.Section, pd.DataFrame]:
    """What changed prompts cost: in nats a token of the reference, since an answer for each would take hours."""

    def ask(changed: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
        tokens, nll = model_answers.likelihoods(model, changed, "label", evaluate_config.batch_size)
        return -nll / tokens, [""] * len(changed)

    before = (-predictions["nll"] / predictions["tokens"]).to_numpy(dtype=float)
    section, columns = robustness.section(rows, before, [""] * len(rows), "nats a token", ask, evaluate_config)
    obeyed, column = robustness.instruction(
        rows, predictions, partial(model.predict, batch_size=evaluate_config.batch_size), evaluate_config
    )
    return measures.Section(
        section.name, section.details | {"instruction": obeyed.details}, section.measures | obeyed.measures
    ), columns.join(column)


def search_slices(
    rows: pd.DataFrame, predictions: pd.DataFrame, evaluate_config: GenerationEvaluate
) -> measures.Section:
    """By the share of preferred answers where rows have two, else by the nats of a token of the reference."""
    texts = [messages.words(messages.parse(text) or []) for text in rows["text"]]
    score, losses = "nats a token", predictions["nll"] / predictions["tokens"]
    if "preferred" in predictions:
        score, losses = "preferred", 1 - predictions["preferred"]
    return slice_search.section(rows, texts, losses.to_numpy(dtype=float), score, evaluate_config)


def retention_scores(questions: pd.DataFrame) -> dict[str, float]:
    """The share of right answers of each set of questions, of the candidate and of its base."""
    sets = questions.groupby("set")
    scores = {f"general_{name}": float(right.mean()) for name, right in sets["right"]}
    return scores | {f"base_general_{name}": float(right.mean()) for name, right in sets["base_right"]}


def intervals(predictions: pd.DataFrame, evaluate_config: GenerationEvaluate) -> dict[str, statistics.Interval]:
    """Every score with its bootstrap interval: whole rows are drawn again, with all of their tokens and n-grams."""
    tokens, nll = predictions["tokens"].to_numpy(float), predictions["nll"].to_numpy(float)

    def perplexity(rows: np.ndarray) -> float:
        return statistics.perplexity(tokens[rows], nll[rows])

    scores = {"perplexity": _interval(perplexity, len(nll), evaluate_config)}
    for name in ("preferred", *TEXT_SCORES):
        if name in predictions:
            answers = predictions[predictions[name].notna()]
            score = task_metrics.score_of_rows(name, answers)
            scores[name] = _interval(score, len(answers), evaluate_config)
    return scores


def _interval(
    score: Callable[[np.ndarray], float], rows: int, evaluate_config: GenerationEvaluate
) -> statistics.Interval:
    draws = statistics.resamples(rows, evaluate_config.bootstrap, evaluate_config.seed)
    return statistics.interval(score, draws, evaluate_config.confidence)


def details(rows: pd.DataFrame, predictions: pd.DataFrame, limit: int) -> dict[str, Any]:
    """The `limit` answers that are least like the reference, beside those of the base."""
    answers = predictions[predictions["predicted"].notna()].sort_values(["rouge_l", "id"]).head(limit)
    prompts = rows.set_index("id")["text"]
    return {
        "answers": [
            {
                "id": row["id"],
                "prompt": [
                    {"role": message["role"], "content": messages.words([message])}
                    for message in json.loads(prompts[row["id"]])
                ],
                "reference": messages.words(messages.answer(row["label"])),
                "answer": row["predicted"],
                "base": row["base_predicted"],
                "rouge_l": row["rouge_l"],
            }
            for row in answers.to_dict("records")
        ]
    }


def _draw(predictions: pd.DataFrame, out: Path) -> None:
    folder, models = out / "plots" / "scores", {"candidate": "", "base": "base_"}
    nats = {name: predictions[f"{prefix}nll"] / predictions["tokens"] for name, prefix in models.items()}
    plots.spread(nats, "nats a token of the reference; less is better", folder / "likelihood.png")
    if "preferred" in predictions:
        margins = {
            name: predictions[f"{prefix}rejected_nll"] / predictions["rejected_tokens"] - nats[name]
            for name, prefix in models.items()
        }
        label = "nats a token by which the chosen answer is likelier than the rejected; above 0: preferred"
        plots.spread(margins, label, folder / "preference.png")
    likeness = {name: predictions[f"{prefix}rouge_l"].dropna() for name, prefix in models.items()}
    plots.spread(likeness, "ROUGE-L of the answers", folder / "likeness.png")
