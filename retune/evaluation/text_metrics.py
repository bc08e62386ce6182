"""What written text is worth: scores by row, and in sum with intervals. Door to rouge-score and sacrebleu.

    rouge_1, rouge_2, rouge_l   0 to 1     F1 of the words, word pairs and longest common subsequence (Lin 2004)
    bleu                        0 to 100   Papineni et al. 2002, as sacrebleu counts and tokenises (Post 2018)
    chrf                        0 to 100   F2 of character n-grams up to 6 (Popović 2015)
    exact_match                 0 or 1     equal but for white space
    json_valid                  0 or 1     is JSON of the schema that is asked for
    perplexity                  1 and up   exp of the mean negative log-likelihood a token; less is better

In sum, BLEU and chrF are those of the whole, from the counts of all rows; a row's BLEU is sacrebleu's sentence BLEU,
and the mean of those is another number. Perplexity weighs tokens, not rows. The others are means over rows.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from retune.errors import WrongUse
from retune.evaluation import statistics
from retune.evaluation.label_metrics import RowMetric
from retune.evaluation.statistics import Interval

ROUGE = {"rouge1": "rouge_1", "rouge2": "rouge_2", "rougeL": "rouge_l"}
NAMES = (*ROUGE.values(), "bleu", "chrf", "exact_match")  # and json_valid, where a schema is asked for
Texts = Sequence[str]


# ---------------------------------------------------------------- one row


class _Words:
    """Words of any script. rouge-score's own tokeniser keeps a to z and 0 to 9 alone, so that Greek scores 0."""

    def tokenize(self, text: str) -> list[str]:
        return re.findall(r"[^\W_]+", text.lower())


@cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(ROUGE), tokenizer=_Words())


@cache
def _bleu(of_a_row: bool) -> Any:
    from sacrebleu.metrics import BLEU

    return BLEU(effective_order=of_a_row)  # else a row of three words, which has no four in a line, scores 0


@cache
def _chrf() -> Any:
    from sacrebleu.metrics import CHRF

    return CHRF()


def exact(reference: str, predicted: str) -> bool:
    return reference.split() == predicted.split()


def by_row(references: Texts, predicted: Texts, schema: dict[str, Any] | None = None) -> pd.DataFrame:
    """[rows] a column for each of NAMES, and json_valid where there is a `schema`; all floats."""
    pairs = list(zip(references, predicted, strict=True))
    rouge = [_rouge().score(reference, said) for reference, said in pairs]
    columns: dict[str, list[Any]] = {name: [row[kind].fmeasure for row in rouge] for kind, name in ROUGE.items()}
    columns["bleu"] = [_bleu(True).sentence_score(said, [reference]).score for reference, said in pairs]
    columns["chrf"] = [_chrf().sentence_score(said, [reference]).score for reference, said in pairs]
    columns["exact_match"] = [exact(reference, said) for reference, said in pairs]
    if schema is not None:
        columns["json_valid"] = fits(predicted, schema)
    return pd.DataFrame(columns, dtype="float64")


# ---------------------------------------------------------------- JSON


def schema_of(path: str) -> dict[str, Any] | None:
    """The JSON schema in a file; None if no file is named. Raises WrongUse if it is none."""
    if not path:
        return None
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    try:
        schema = json.loads(Path(path).read_text("utf-8"))
        validator_for(schema).check_schema(schema)
    except OSError as error:
        raise WrongUse(f"evaluate.json_schema is {path!r}, which cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, SchemaError) as error:
        why = getattr(error, "message", error)
        raise WrongUse(f"evaluate.json_schema is {path!r}, which is no JSON schema: {why}") from None
    return schema


def fits(predicted: Texts, schema: dict[str, Any]) -> list[bool]:
    """Whether each text is JSON of this schema. Nothing is fetched: a $ref must point into the schema itself."""
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    validator = validator_for(schema)(schema, registry=Registry())
    try:
        return [_parses(text) and validator.is_valid(json.loads(text)) for text in predicted]
    except Unresolvable as error:
        raise WrongUse(f"the JSON schema points to {error.ref!r}, which is not in it: put it under $defs") from None


def _parses(text: str) -> bool:
    try:
        json.loads(text, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return False
    return True


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is Python's, and no JSON")


# ---------------------------------------------------------------- all rows


class _TextMetric(RowMetric):
    told = "predictions and references: texts, row by row"


class Rouge(_TextMetric):
    """The mean F1 of words, word pairs and longest common subsequences, of any script."""

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        rows = [_rouge().score(reference, said) for reference, said in zip(references, predictions, strict=True)]
        return {name: float(np.mean([row[kind].fmeasure for row in rows])) for kind, name in ROUGE.items()}


class Bleu(_TextMetric):
    """BLEU of the whole, 0 to 100, with sacrebleu's usual settings."""

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        return {"bleu": float(_bleu(False).corpus_score(predictions, [references]).score)}


class Chrf(_TextMetric):
    """chrF2 of the whole, 0 to 100, with sacrebleu's usual settings."""

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        return {"chrf": float(_chrf().corpus_score(predictions, [references]).score)}


class ExactMatch(_TextMetric):
    """The share of texts that equal their reference but for white space."""

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        return {"exact_match": float(np.mean([exact(*pair) for pair in zip(references, predictions, strict=True)]))}


class JsonValidity(_TextMetric):
    """The share of texts that are JSON of a schema, whatever the reference says."""

    def _compute(self, predictions: list[str], references: list[str], schema: dict[str, Any]) -> dict[str, float]:
        return {"json_valid": float(np.mean(fits(predictions, schema)))}


class Perplexity(RowMetric):
    """exp of the mean negative log-likelihood of a token."""

    kinds = ("float64", "int64")
    told = "predictions: nats of all supervised tokens of a row; references: how many those are"

    def _compute(self, predictions: list[float], references: list[int]) -> dict[str, float]:
        return {"perplexity": perplexity(np.array(predictions), np.array(references))}


def perplexity(nll: np.ndarray, tokens: np.ndarray) -> float:
    """nll: [rows] nats, sums over the supervised tokens; tokens: [rows]."""
    mean = float(nll.sum() / tokens.sum())
    return math.exp(mean) if mean < 700 else math.inf


def written(
    references: Texts, predicted: Texts, draws: np.ndarray, confidence: float, schema: dict[str, Any] | None = None
) -> dict[str, Interval]:
    """Every score of written text with its interval. draws: [times, rows], of scores.resamples."""
    rows, texts = by_row(references, predicted, schema), (list(predicted), list(references))
    point = Rouge.of(*texts) | Bleu.of(*texts) | Chrf.of(*texts) | ExactMatch.of(*texts)
    if schema is not None:
        point |= JsonValidity.of(*texts, schema=schema)
    of_whole = {"bleu": _from_counts(_bleu(False), *texts), "chrf": _from_counts(_chrf(), *texts)}
    means = {name: _mean(rows[name].to_numpy()) for name in rows.columns.drop(list(of_whole))}
    return _with_intervals(point, {**means, **of_whole}, draws, confidence)


def likely(nll: np.ndarray, tokens: np.ndarray, draws: np.ndarray, confidence: float) -> dict[str, Interval]:
    """Perplexity with its interval: whole rows are drawn, with all of their tokens."""
    of_rows = {"perplexity": lambda rows: perplexity(nll[rows], tokens[rows])}
    return _with_intervals(Perplexity.of(nll, tokens), of_rows, draws, confidence)


def _with_intervals(
    point: dict[str, float], of_rows: dict[str, Callable[[np.ndarray], float]], draws: np.ndarray, confidence: float
) -> dict[str, Interval]:
    """The point as the metric says it, the spread from the resamples."""
    spread = {name: statistics.interval(of_rows[name], draws, confidence) for name in point}
    return {name: Interval(value, spread[name].low, spread[name].high) for name, value in point.items()}


def _mean(values: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda rows: float(values[rows].mean())


def _from_counts(metric: Any, predicted: list[str], references: list[str]) -> Callable[[np.ndarray], float]:
    """A score of the whole from the counts of its rows, counted once: sacrebleu's own bootstrap does so, too."""
    counts = np.array(metric._extract_corpus_statistics(predicted, [references]))
    return lambda rows: float(metric._compute_score_from_stats(counts[rows].sum(0).tolist()).score)
