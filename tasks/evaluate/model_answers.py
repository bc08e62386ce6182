"""What a causal LM is asked in an evaluation: likelihoods of references, answers to prompts, multiple choice."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from retune.config.generation import GenerationEvaluate
from retune.evaluation import multiple_choice, row_sample, text_metrics
from retune.evaluation.json_validity import Schema
from retune.models import causal_lm, chat_template

MERGE_ROWS, MERGE_TOKENS = 4, 64  # whose logits an adapter and the same adapter merged are compared on


def likelihoods(
    model: causal_lm.CausalLM, rows: pd.DataFrame, column: str, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """[rows] tokens of each answer in `column`, and [rows] their negative log-likelihood after `text`, in nats."""
    pairs = zip(rows["text"], rows[column], strict=True)
    likelihood = model.likelihood([chat_template.render(model.tokenizer, *pair) for pair in pairs], batch_size)
    return likelihood.tokens, likelihood.nll


def compare_with_merged(model: causal_lm.CausalLM, rows: pd.DataFrame) -> dict[str, float]:
    """How far the logits of a few rows move when the adapter is merged. Merges it: call it last."""
    sample = rows.head(MERGE_ROWS)
    examples = [
        chat_template.render(model.tokenizer, *row) for row in zip(sample["text"], sample["label"], strict=True)
    ]
    distance, rounding = causal_lm.merge(
        model, [chat_template.TokenizedExample(row.tokens[:MERGE_TOKENS], row.prompt) for row in examples]
    )
    return {"merged_moved": distance, "merged_rounding": rounding}


def rows_to_answer(ids: pd.Series, evaluate_config: GenerationEvaluate) -> pd.Series:
    """[rows] of bool: the rows that each model writes an answer for, those with the smallest hash of seed and id."""
    return row_sample.drawn(ids, evaluate_config.generate_rows, evaluate_config.seed)


def write_answers(
    model: causal_lm.CausalLM, rows: pd.DataFrame, batch_size: int, schema: Schema | None
) -> pd.DataFrame:
    """predicted, confidence, and the scores of `text_metrics`, with the index of `rows`."""
    predictions = model.predict(rows["text"].tolist(), batch_size)
    references = [chat_template.written(model.tokenizer, *row) for row in zip(rows["text"], rows["label"], strict=True)]
    scores = text_metrics.score_rows(references, predictions.labels, schema)
    answers = pd.DataFrame({"predicted": predictions.labels, "confidence": predictions.confidence.astype("float64")})
    return answers.join(scores).set_index(rows.index)


def retention_answers(model: causal_lm.CausalLM, evaluate_config: GenerationEvaluate) -> np.ndarray:
    """[questions of all sets] of bool: the likeliest choice is the right one."""
    likelihood = _plain_likelihood(model, evaluate_config.batch_size)
    answers = [np.zeros(0, dtype=bool)]
    for question_set in evaluate_config.retention:
        questions = multiple_choice.read(Path(question_set.path))
        choices = multiple_choice.answers(questions, likelihood, question_set.by_length)
        answers.append(multiple_choice.right(questions, choices))
    return np.concatenate(answers)


def _plain_likelihood(model: causal_lm.CausalLM, batch_size: int) -> Callable[[Sequence[tuple[str, str]]], np.ndarray]:
    """Log-likelihood of a continuation after a context, as plain text, without a chat template."""

    def likelihood(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        longest = model.manifest.max_tokens
        examples = [chat_template.continuation(model.tokenizer, context, text, longest) for context, text in pairs]
        return -model.likelihood(examples, batch_size).nll

    return likelihood


def retention_table(evaluate_config: GenerationEvaluate, candidate: np.ndarray, base: np.ndarray) -> pd.DataFrame:
    """[questions] set, question, right, base_right. candidate, base: of `retention_answers`."""
    sizes = [len(multiple_choice.read(Path(each.path))) for each in evaluate_config.retention]
    names = [each.name for each, size in zip(evaluate_config.retention, sizes, strict=True) for _ in range(size)]
    return pd.DataFrame(
        {
            "set": pd.Series(names, dtype="str"),
            "question": [number for size in sizes for number in range(size)],
            "right": candidate,
            "base_right": base,
        }
    )
