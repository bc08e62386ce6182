"""What typing errors and the like cost the model, in details.json under `robustness`."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from retune.config.common import EvaluateCommon
from retune.data import messages
from retune.evaluation import paraphrases, perturbations, robustness, row_sample
from retune.evaluation.automation import exact_interval
from retune.evaluation.measures import Measure, Section
from retune.evaluation.robustness import Cost
from retune.models import classifier

NAME, PARAPHRASES, INSTRUCTION = "robustness", "paraphrases", "instruction"
WORST = 3  # examples of each kind
# rows with changed texts -> [rows] scores, larger is better, and [rows] what the model says
Predict = Callable[[list[str]], classifier.Predictions]
Ask = Callable[[pd.DataFrame], tuple[np.ndarray, Sequence[str]]]


def section(
    rows: pd.DataFrame,
    before: np.ndarray,
    answers_before: Sequence[str],
    score: str,
    ask: Ask,
    evaluate_config: EvaluateCommon,
) -> tuple[Section, pd.DataFrame]:
    """The section, and [rows] a column for each kind with the score after the change.

    before, answers_before: [rows] the score and the answer before the change; score: its name.
    """
    changed = pd.concat([rows.head(0).assign(kind="", place=0), *_changed(rows, evaluate_config)], ignore_index=True)
    after, answers = ask(changed) if len(changed) else (np.zeros(0), [])
    changed = changed.assign(score=np.asarray(after, dtype=float), answer=list(answers))
    columns, entries, measures = {}, [], {}
    for kind in _kinds(evaluate_config):
        part = changed[changed["kind"] == kind]
        values = np.full(len(rows), np.nan)
        values[part["place"].to_numpy(dtype=int)] = part["score"].to_numpy()
        columns[robustness.column(kind)] = values
        config = evaluate_config
        cost = robustness.cost(kind, before, values, config.bootstrap, config.confidence, config.seed)
        if cost is None:
            continue
        entries.append(_entry(cost, part, rows, before, answers_before))
        title = f"{score} lost by {kind.replace('_', ' ')}"
        measures[f"robustness_{kind}"] = Measure(title, cost.drop.value, cost.drop.low, cost.drop.high, cost.rows)
    return Section(NAME, {"score": score, "kinds": entries}, measures), pd.DataFrame(columns, index=rows.index)


def instruction(
    rows: pd.DataFrame, predictions: pd.DataFrame, predict: Predict, evaluate_config: EvaluateCommon
) -> tuple[Section, pd.DataFrame]:
    """Of a model that writes: how often it obeys an instruction in the data, and how often that changes its answer.

    predictions: with the answers before. Asked are the drawn rows that have one.
    """
    has_answer = predictions["predicted"].notna().to_numpy()
    drawn = rows[has_answer][
        row_sample.drawn(rows["id"][has_answer], evaluate_config.robustness.rows, evaluate_config.seed)
    ]
    prompts = [_in_last_question(text, perturbations.with_instruction) for text in drawn["text"]]
    answers = list(predict(prompts).labels) if prompts else []
    before = predictions.loc[drawn.index, "predicted"].tolist()
    obeyed = [perturbations.obeys(answer) for answer in answers]
    other = [answer != old for answer, old in zip(answers, before, strict=True)]
    measures = {
        f"instruction_{name}": Measure(title, spread.value, spread.low, spread.high, len(answers))
        for name, title, hits in (
            ("obeyed", "instructions in the data that were obeyed", sum(obeyed)),
            ("changed", "answers that an instruction in the data changed", sum(other)),
        )
        for spread in [exact_interval(hits, len(answers), (1 + evaluate_config.confidence) / 2)]
    }
    details = {"rows": len(answers), "obeyed": sum(obeyed), "changed": sum(other)}
    column = pd.DataFrame({robustness.column(INSTRUCTION): [float(not each) for each in obeyed]}, index=drawn.index)
    return Section(NAME, details, measures), column.reindex(rows.index)


def _kinds(evaluate_config: EvaluateCommon) -> list[str]:
    config = evaluate_config.robustness
    return [*config.kinds, *([PARAPHRASES] if config.paraphrases else [])]


def _changed(rows: pd.DataFrame, evaluate_config: EvaluateCommon) -> Iterator[pd.DataFrame]:
    """The drawn rows with the text of each kind of change, for those that it changes; kind; place among all rows."""
    config, seed = evaluate_config.robustness, evaluate_config.seed
    sample = rows.assign(place=np.arange(len(rows)))
    drawn = sample[row_sample.drawn(rows["id"], config.rows, seed).to_numpy()]
    for kind in config.kinds:
        texts = [_perturbed(kind, *pair, seed) for pair in zip(drawn["text"], drawn["id"], strict=True)]
        table = drawn.assign(text=texts, kind=kind)
        yield table[(table["text"] != drawn["text"]).to_numpy()]
    if config.paraphrases:
        words = {key: text for file in config.paraphrases for key, text in paraphrases.read(file).items()}
        texts = [
            words.get(name) or words.get(text) or text for name, text in zip(sample["id"], sample["text"], strict=True)
        ]
        table = sample.assign(text=texts, kind=PARAPHRASES)
        table = table[(table["text"] != sample["text"]).to_numpy()]
        yield table[row_sample.drawn(table["id"], config.rows, seed).to_numpy()]


def _perturbed(kind: str, text: str, name: str, seed: int) -> str:
    return _in_last_question(text, lambda words: perturbations.perturb(kind, words, seed, name))


def _in_last_question(text: str, change: Callable[[str], str]) -> str:
    """The text changed; of messages the last one of the user."""
    conversation = messages.parse(text)
    if conversation is None:
        return change(text)
    places = [place for place, message in enumerate(conversation) if message["role"] == "user"]
    if not places:
        return text
    last = conversation[places[-1]]
    changed = {**last, "content": change(last["content"])}
    return messages.dump([*conversation[: places[-1]], changed, *conversation[places[-1] + 1 :]])


def _entry(
    cost: Cost, part: pd.DataFrame, rows: pd.DataFrame, before: np.ndarray, answers_before: Sequence[str]
) -> dict[str, Any]:
    losses = before[part["place"].to_numpy(dtype=int)] - part["score"].to_numpy()
    worst = part.assign(loss=losses)[losses > 0].sort_values(["loss", "id"], ascending=[False, True]).head(WORST)
    return {
        "kind": cost.kind,
        "rows": cost.rows,
        "before": cost.before,
        "after": cost.after,
        "drop": cost.drop.value,
        "low": cost.drop.low,
        "high": cost.drop.high,
        "worst": [
            {
                "id": row["id"],
                "before": _in_words(rows["text"].iloc[row["place"]]),
                "after": _in_words(row["text"]),
                "answer_before": answers_before[row["place"]],
                "answer_after": row["answer"],
            }
            for row in worst.to_dict("records")
        ],
    }


def _in_words(text: str) -> str:
    conversation = messages.parse(text)
    return text if conversation is None else messages.words(conversation)
