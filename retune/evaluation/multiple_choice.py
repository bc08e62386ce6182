"""Multiple choice as a measure of retention: whether a tuned model still knows what its base knew.

A set is a JSONL file, one question per line:

    {"query": "Passage: ... Question: is ethanol dearer?", "choices": ["no", "yes"], "gold": 0}

Each choice is scored by the log-likelihood of its text after the query and one space, or after the text of `between`
if the line has one ("\\nAnswer: "), in plain text without a chat template. Two scores, named as
in EleutherAI's lm-evaluation-harness, which counts length in the same way:

    acc        the choice with the highest log-likelihood
    acc_norm   divided by the choice's length in characters, so that long choices are not at a disadvantage

The first of several choices with the same score wins.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retune.config import params
from retune.config.generation import GenerationEvaluate
from retune.errors import Refused, WrongUse

Likelihood = Callable[[Sequence[tuple[str, str]]], np.ndarray]
"""[pairs] the log-probability, in nats, of the second text of each pair after the first one: a sum over its tokens."""


@dataclass(frozen=True)
class Question:
    query: str
    choices: tuple[str, ...]
    gold: int
    between: str = " "  # query and choice


def read(path: Path) -> list[Question]:
    """The questions of a set. Raises WrongUse if it cannot be read, Refused with the line of an invalid question."""
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUse(f"The multiple-choice set {path} cannot be read: {error}") from None
    questions = [_parse(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1) if line.strip()]
    if not questions:
        raise Refused(f"The multiple-choice set {path} holds no question. Write one JSON object per line")
    return questions


def check(config: params.Params) -> None:
    """Raises as `read` does for the sets of `evaluate.retention`, so that a person sees the error before training."""
    if isinstance(config.evaluate, GenerationEvaluate):
        for question_set in config.evaluate.retention:
            read(Path(question_set.path))


def _parse(line: str, place: str) -> Question:
    try:
        question = json.loads(line)
        query, choices, gold = (question[name] for name in ("query", "choices", "gold"))
    except (ValueError, TypeError, KeyError) as error:
        raise Refused(f"{place}: a question is an object with query, choices and gold: {error!r}") from None
    if not isinstance(query, str) or not _are_texts(choices) or len(choices) < 2:
        raise Refused(f"{place}: query must be a text, and choices a list of two texts or more, none of them empty")
    if type(gold) is not int or not 0 <= gold < len(choices):
        raise Refused(f"{place}: gold is {gold!r}. Write the number of the right choice, 0 to {len(choices) - 1}")
    if not isinstance(between := question.get("between", " "), str):
        raise Refused(f"{place}: between is {between!r}. Write the text between query and choice")
    return Question(query, tuple(choices), gold, between)


def _are_texts(choices: Any) -> bool:
    return isinstance(choices, list) and all(isinstance(choice, str) and choice.strip() for choice in choices)


def answers(questions: Sequence[Question], likelihood: Likelihood, by_length: bool) -> np.ndarray:
    """[questions] the number of the likeliest choice.

    likelihood: called once with all pairs of query and choice, in order.
    """
    pairs = [(question.query, question.between + choice) for question in questions for choice in question.choices]
    values = iter(np.asarray(likelihood(pairs), dtype="float64"))
    return np.array([_likeliest(question, values, by_length) for question in questions])


def _likeliest(question: Question, values: Iterator[float], by_length: bool) -> int:
    scores = np.array([next(values) for _ in question.choices])
    if not np.isfinite(scores).all():
        raise Refused(f"The model gives no likelihood for a choice of {question.query[:80]!r}: {scores.tolist()}")
    return int(np.argmax(scores / [len(choice) for choice in question.choices] if by_length else scores))


def right(questions: Sequence[Question], answers: np.ndarray) -> np.ndarray:
    """[questions] of bool: whether each answer, the number of a choice, is the right one."""
    gold = np.array([question.gold for question in questions])
    return np.array(answers == gold)
