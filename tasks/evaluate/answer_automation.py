"""What a model that writes may send without a person: a threshold of confidence from answers to validation rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from retune.config.generation import GenerationEvaluate
from retune.data import messages
from retune.evaluation import answer_measure, automation, row_sample
from retune.models import causal_lm, chat_template, routing
from retune.system import stage_io
from tasks.evaluate.automation import Automated, write

ROWS = "automation_rows"  # of details.json: the validation rows that the threshold was chosen on


def answer_validation(
    model: causal_lm.CausalLM, rows: pd.DataFrame, evaluate_config: GenerationEvaluate
) -> pd.DataFrame:
    """id, confidence and right of drawn rows that the model has not learned from; nothing without a measure."""
    config = evaluate_config.automation
    liked = rows[rows["label"] != messages.NO_ANSWER] if config.measure else rows.head(0)
    drawn = liked[row_sample.drawn(liked["id"], config.rows, evaluate_config.seed)]
    with stage_io.heartbeat(f"answering {len(drawn):,} validation rows"):
        answers = model.predict(drawn["text"].tolist(), evaluate_config.batch_size)
    written = drawn[["id"]].assign(predicted=answers.labels, confidence=answers.confidence.astype("float64"))
    return written.assign(right=_are_right(model, drawn, written["predicted"], evaluate_config))[
        ["id", "confidence", "right"]
    ].reset_index(drop=True)


def judge_test(
    model: causal_lm.CausalLM, rows: pd.DataFrame, predictions: pd.DataFrame, evaluate_config: GenerationEvaluate
) -> pd.DataFrame:
    """`predictions` with the column right, 1.0 or 0.0, of rows that have an answer; as they are without a measure."""
    if not evaluate_config.automation.measure:
        return predictions
    written = predictions["predicted"].notna()
    right = _are_right(model, rows[written], predictions["predicted"][written], evaluate_config)
    return predictions.assign(right=pd.Series(right, predictions.index[written], dtype="float64"))


def _are_right(
    model: causal_lm.CausalLM, rows: pd.DataFrame, predicted: "pd.Series[str]", evaluate_config: GenerationEvaluate
) -> list[bool]:
    if rows.empty:
        return []
    pairs = zip(rows["text"], rows["label"], strict=True)
    answers = pd.DataFrame(
        {
            "id": rows["id"].tolist(),
            "prompt": [messages.words(messages.parse(text) or []) for text in rows["text"]],
            "reference": [chat_template.written(model.tokenizer, *pair) for pair in pairs],
            "predicted": predicted.tolist(),
        }
    )
    return answer_measure.are_right(answers, evaluate_config)


def report_on(
    predictions: pd.DataFrame,
    validation: pd.DataFrame | None,
    model_folder: Path,
    evaluate_config: GenerationEvaluate,
    out: Path,
) -> tuple[Automated, dict[str, Any]]:
    """predictions: of the test rows, of `judge_test`; validation: of `answer_validation`, None for a champion.

    Returns what `tasks.evaluate.automation` returns for a classifier, and the parts of details.json.
    """
    written = predictions[predictions["predicted"].notna()]
    if validation is None:
        return Automated(_routes(routing.read(model_folder), predictions), {}, {}), {}
    document = automation.document(validation, written, evaluate_config.automation)
    rule = routing.parse(document)
    if not evaluate_config.automation.measure:
        stage_io.write_json(document, out / routing.FILE)
        return Automated(_routes(rule, predictions), {}, {}), {}
    write(document, automation.answers_of(written), evaluate_config.automation.precision, out)
    headline = automation.headline(document)
    return Automated(_routes(rule, predictions), headline, document), {ROWS: validation.to_dict("list")}


def _routes(rule: routing.Routing, predictions: pd.DataFrame) -> list[str]:
    """[test rows], empty where the model wrote nothing."""
    routes = np.full(len(predictions), "", dtype=object)
    written = predictions["predicted"].notna().to_numpy()
    answers = predictions[written]
    routes[written] = rule.routes(answers["predicted"].tolist(), answers["confidence"].to_numpy(float))
    return routes.tolist()
