"""A model that writes beside its untouched base: how likely each holds the reference, and what each writes itself.

Of pairs the reference is the chosen answer, and each model is asked of the rejected one too: of task prefer, of which
this is the evaluation as well, that is the headline.

Likelihood is measured on every row, writing on some of them: `evaluate.generate_rows`, drawn by the hash of their ids,
so that the champion writes on the same ones. details.json shows answers side by side; the plots are the likelihood of
the references and the likeness of what was written to them.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from retune.config.params import InstructEvaluate, Judge
from retune.data import messages, row_table
from retune.errors import Refused
from retune.evaluation import (
    json_validity,
    llm_judge,
    multiple_choice,
    plots,
    report,
    statistics,
    task_metrics,
    text_metrics,
)
from retune.models import causal_lm, chat_template
from retune.system import stage_io

MERGED_ON = (4, 64)  # rows, and tokens of each, on whose logits an adapter and the same one merged are compared
TEXT_SCORES = ("rouge_l", "chrf", "bleu", "exact_match", "json_valid")


def report_on(model_folder: Path, rows: pd.DataFrame, section: InstructEvaluate, out: Path) -> None:
    """Score a model folder on `rows`, and write into `out` what the shell of evaluation promises."""
    if rows.empty:
        raise Refused("there are no rows to score: the side is empty")
    asked, schema = drawn(rows["id"], section), json_validity.read_schema(section.json_schema)
    said = rows[["id", "label"]].copy()
    general: dict[str, np.ndarray] = {}
    seconds: dict[str, float] = {}
    for prefix, load in (
        ("", causal_lm.load),
        ("base_", causal_lm.load_base_model),
    ):  # one after the other: memory holds one
        model = load(model_folder)
        said["tokens"], said[f"{prefix}nll"] = likelihoods(model, rows, "label", section)
        if row_table.REJECTED in rows:
            said["rejected_tokens"], said[f"{prefix}rejected_nll"] = likelihoods(model, rows, "rejected", section)
            said[f"{prefix}preferred"] = task_metrics.preferred(task_metrics.predictions_of(said, prefix))
        began = time.perf_counter()
        said = said.join(written(model, rows[asked], section, schema).add_prefix(prefix))
        seconds[prefix] = time.perf_counter() - began
        general[prefix] = answers(model, section)
        if not prefix:
            card, moved = model.manifest, merged(model, rows[asked])
        del model

    headline = summary(said, seconds[""], int(asked.sum()), section)
    questions = remembered(section, general)
    headline |= {f"general_{name}": float(right.mean()) for name, right in questions.groupby("set")["right"]}
    headline |= {f"base_general_{name}": float(right.mean()) for name, right in questions.groupby("set")["base_right"]}
    found = details(rows, said, section.examples) | {"general": questions.to_dict("list")}
    if section.judge.url:
        verdicts = judged(rows, said, section.judge)
        headline |= {
            f"judge_{name}": value for name, value in asdict(llm_judge.summary(verdicts["said"].tolist())).items()
        }
        found["judge"] = {**asdict(section.judge), "verdicts": verdicts.to_dict("records")}
    headline |= moved
    row_table.write(said, out / "predictions.parquet")
    _draw(said, out)
    stage_io.write_json(found, out / "details.json")
    report.write_answers(out / "report.html", headline, found, asdict(card), sorted((out / "plots").rglob("*.png")))
    stage_io.write_json(headline, out / "evaluate.json")
    for name, title in task_metrics.titles_in(headline).items():
        print(f"{title}: {headline[name]:.4f}  base {headline[f'base_{name}']:.4f}", flush=True)


# ---------------------------------------------------------------- likelihood


def likelihoods(
    model: causal_lm.CausalLM, rows: pd.DataFrame, answer: str, section: InstructEvaluate
) -> tuple[np.ndarray, np.ndarray]:
    """Of each answer in that column: its tokens, and the negative log-likelihood of all of them, in nats."""
    rendered = [
        chat_template.render(model.tokenizer, text, said) for text, said in zip(rows["text"], rows[answer], strict=True)
    ]
    found = model.likelihood(rendered, section.batch_size)
    return found.tokens, found.nll


def merged(model: causal_lm.CausalLM, rows: pd.DataFrame) -> dict[str, float]:
    """How far the logits of a few rows move when the adapter is merged, which is done here: the model's last use."""
    count, most = MERGED_ON
    few = rows.head(count)
    rendered = [chat_template.render(model.tokenizer, *row) for row in zip(few["text"], few["label"], strict=True)]
    moved, apart = causal_lm.merge(
        model, [chat_template.TokenizedExample(row.tokens[:most], row.prompt) for row in rendered]
    )
    return {"merged_moved": moved, "merged_rounding": apart}


# ---------------------------------------------------------------- writing


def drawn(ids: pd.Series, section: InstructEvaluate) -> pd.Series:
    """Which rows an answer is written for: those with the smallest hash of seed and id."""
    draw = ids.map(lambda name: hashlib.sha256(f"{section.seed}:{name}".encode("utf-8", "surrogatepass")).hexdigest())
    return draw.rank(method="first") <= section.generate_rows


def written(
    model: causal_lm.CausalLM, rows: pd.DataFrame, section: InstructEvaluate, schema: dict[str, Any] | None
) -> pd.DataFrame:
    """What the model answers to `rows`, how sure it was, and how near that comes to the reference; by their index."""
    said = model.predict(rows["text"].tolist(), section.batch_size)
    scores = text_metrics.score_rows(rows["label"].tolist(), said.labels, schema)
    answers = pd.DataFrame({"predicted": said.labels, "confidence": said.confidence.astype("float64")})
    return answers.join(scores).set_index(rows.index)


def judged(rows: pd.DataFrame, said: pd.DataFrame, section: Judge) -> pd.DataFrame:
    """What the judge says of each pair of answers. Nobody can build it again: another day it may say something else."""
    prompts = rows.set_index("id")["text"].map(lambda text: messages.words(messages.parse(text) or []))
    there = said[said["predicted"].notna()]
    asked = {"id": there["id"], "prompt": prompts[there["id"]].to_numpy()}
    pairs = pd.DataFrame({**asked, "ours": there["predicted"], "theirs": there["base_predicted"]})
    with llm_judge.endpoint(section, lambda told: print(told, flush=True)) as ask:
        return llm_judge.judge_pairs(pairs, ask, section.criterion)


# ---------------------------------------------------------------- what the base knew


def answers(model: causal_lm.CausalLM, section: InstructEvaluate) -> np.ndarray:
    """[questions] of all sets, whether the likeliest choice was the right one."""
    told = [np.zeros(0, dtype=bool)]
    for each in section.retention:
        questions = multiple_choice.read(Path(each.path))
        told.append(
            multiple_choice.right(
                questions, multiple_choice.answers(questions, _of_text(model, section), each.by_length)
            )
        )
    return np.concatenate(told)


def _of_text(model: causal_lm.CausalLM, section: InstructEvaluate) -> Callable[[Sequence[tuple[str, str]]], np.ndarray]:
    """Log-likelihood of a continuation after a context, as plain text, with no template."""

    def likelihood(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        longest = model.manifest.max_tokens
        rendered = [chat_template.continuation(model.tokenizer, context, text, longest) for context, text in pairs]
        return -model.likelihood(rendered, section.batch_size).nll

    return likelihood


def remembered(section: InstructEvaluate, general: dict[str, np.ndarray]) -> pd.DataFrame:
    sizes = [len(multiple_choice.read(Path(each.path))) for each in section.retention]
    names = [each.name for each, size in zip(section.retention, sizes, strict=True) for _ in range(size)]
    return pd.DataFrame(
        {
            "set": pd.Series(names, dtype="str"),
            "question": [number for size in sizes for number in range(size)],
            "right": general[""],
            "base_right": general["base_"],
        }
    )


# ---------------------------------------------------------------- what is told


def summary(said: pd.DataFrame, seconds: float, wrote: int, section: InstructEvaluate) -> dict[str, Any]:
    """The headline: flat names, so that DVC and MLflow show a column each."""
    told: dict[str, Any] = {"rows": len(said), "rows_written": wrote}
    for prefix in ("", "base_"):
        for name, spread in intervals(task_metrics.predictions_of(said, prefix), section).items():
            told |= {
                f"{prefix}{name}": spread.value,
                f"{prefix}{name}_low": spread.low,
                f"{prefix}{name}_high": spread.high,
            }
    told["gain_over_base"] = (
        told["preferred"] - told["base_preferred"]
        if "preferred" in said
        else math.log(told["base_perplexity"] / told["perplexity"])  # nats a token
    )
    told["seconds"] = round(seconds, 3)
    return told


def intervals(predictions: pd.DataFrame, section: InstructEvaluate) -> dict[str, statistics.Interval]:
    """Every score with its bootstrap interval: whole rows are drawn again, with all of their tokens and n-grams."""
    tokens, nll = predictions["tokens"].to_numpy(float), predictions["nll"].to_numpy(float)
    scores = {"perplexity": _interval(lambda rows: statistics.perplexity(tokens[rows], nll[rows]), len(nll), section)}
    for name in ("preferred", *TEXT_SCORES):
        if name in predictions:
            written = predictions[predictions[name].notna()]
            scores[name] = _interval(task_metrics.score_of_rows(name, written), len(written), section)
    return scores


def _interval(score: Callable[[np.ndarray], float], rows: int, section: InstructEvaluate) -> statistics.Interval:
    return statistics.interval(score, statistics.resamples(rows, section.bootstrap, section.seed), section.confidence)


def details(rows: pd.DataFrame, said: pd.DataFrame, most: int) -> dict[str, Any]:
    """Answers beside those of the base and the reference: those that are least like it first."""
    there = said[said["predicted"].notna()].sort_values(["rouge_l", "id"]).head(most)
    prompts = rows.set_index("id")["text"]
    return {
        "answers": [
            {
                "id": row["id"],
                "prompt": json.loads(prompts[row["id"]]),
                "reference": row["label"],
                "answer": row["predicted"],
                "base": row["base_predicted"],
                "rouge_l": row["rouge_l"],
            }
            for row in there.to_dict("records")
        ]
    }


def _draw(said: pd.DataFrame, out: Path) -> None:
    each = {name: said[f"{prefix}nll"] / said["tokens"] for name, prefix in (("candidate", ""), ("base", "base_"))}
    plots.spread(each, "nats a token of the reference; less is better", out / "plots" / "scores" / "likelihood.png")
    if "preferred" in said:
        apart = {
            name: said[f"{prefix}rejected_nll"] / said["rejected_tokens"] - each[name]
            for name, prefix in (("candidate", ""), ("base", "base_"))
        }
        told = "nats a token by which the chosen answer is likelier than the rejected; above 0: preferred"
        plots.spread(apart, told, out / "plots" / "scores" / "preference.png")
    like = {name: said[f"{prefix}rouge_l"].dropna() for name, prefix in (("candidate", ""), ("base", "base_"))}
    plots.spread(like, "ROUGE-L of what was written", out / "plots" / "scores" / "likeness.png")
