"""Scores of generated text, per row and per corpus. Adapter of rouge-score and sacrebleu.

    rouge_l       0 to 1     F1 of the longest common subsequence of words (Lin 2004)
    bleu          0 to 100   Papineni et al. 2002, as sacrebleu counts and tokenises (Post 2018)
    chrf          0 to 100   F2 of character n-grams up to 6 (Popović 2015)
    exact_match   0 or 1     equal except for white space
    json_valid    0 or 1     JSON that fits the schema, if there is one

BLEU and chrF are corpus scores: they follow from the n-gram counts of all rows and differ from the mean over rows. So
each row has its counts (its sufficient statistics) in `bleu_counts` and `chrf_counts`: summed
over any rows, also those of a bootstrap resample (Koehn 2004), they give the score of these rows. The headline is that
of `sacrebleu REFERENCES -i PREDICTIONS -m bleu chrf`. The score of a single row serves to show and compare rows.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from retune.data import text_keys
from retune.evaluation.json_validity import Schema, matches_schema

COUNTS = {"bleu": "bleu_counts", "chrf": "chrf_counts"}  # corpus score -> column of its counts by row
COLUMNS = ("rouge_l", "chrf", "bleu", "exact_match", *COUNTS.values())  # and json_valid, if there is a schema
Texts = Sequence[str]


class _Words:
    """Words of any script. rouge-score's own tokeniser keeps only a to z and 0 to 9, so that Greek scores 0.

    Records keep the score of each row, so those of a time when a vowel sign of Hindi ended a word verify as they are.
    """

    def tokenize(self, text: str) -> list[str]:
        return text_keys.without_signs(text.lower()).split()


@cache
def _rouge_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=_Words())


@cache
def _corpus_metric(name: str) -> Any:
    """sacrebleu's metric with the settings of its command line."""
    from sacrebleu.metrics import BLEU, CHRF

    return {"bleu": BLEU, "chrf": CHRF}[name]()


@cache
def _row_metric(name: str) -> Any:
    """The same for one row. BLEU leaves out n-grams longer than the row, else a row of three words scores 0."""
    from sacrebleu.metrics import BLEU

    return BLEU(effective_order=True) if name == "bleu" else _corpus_metric(name)


def score_rows(references: Texts, predictions: Texts, schema: Schema | None = None) -> pd.DataFrame:
    """[rows] COLUMNS, and json_valid if there is a `schema`: floats, and a list of integers for each of COUNTS."""
    pairs = list(zip(references, predictions, strict=True))
    scorer = _rouge_scorer()
    columns: dict[str, list[Any]] = {"rouge_l": [scorer.score(*pair)["rougeL"].fmeasure for pair in pairs]}
    counts = {name: corpus_counts(name, references, predictions) for name in COUNTS}
    for name in ("chrf", "bleu"):
        columns[name] = [_row_metric(name)._compute_score_from_stats(list(row)).score for row in counts[name]]
    columns["exact_match"] = [is_exact_match(*pair) for pair in pairs]
    if schema is not None:
        columns["json_valid"] = matches_schema(predictions, schema)
    scores = pd.DataFrame(columns, dtype="float64")
    return scores.assign(**{COUNTS[name]: pd.Series(rows, dtype="object") for name, rows in counts.items()})


def is_exact_match(reference: str, prediction: str) -> bool:
    return reference.split() == prediction.split()


def corpus_counts(metric: str, references: Texts, predictions: Texts) -> list[list[int]]:
    """[rows] the counts of each row that sacrebleu computes a corpus score from. metric: one of COUNTS.

    bleu    length of prediction and reference; matching n-grams of 1 to 4 words; n-grams of the prediction
    chrf    for n-grams of 1 to 6 characters: of the prediction, of the reference, matching
    """
    if not len(predictions):
        return []
    rows = _corpus_metric(metric)._extract_corpus_statistics(list(predictions), [list(references)])
    return [[int(count) for count in row] for row in rows]


def corpus_score(metric: str, counts: np.ndarray) -> float:
    """The score of all rows together, 0 to 100. metric: one of COUNTS; counts: [rows, counts] of `corpus_counts`."""
    return float(_corpus_metric(metric)._compute_score_from_stats(counts.sum(axis=0).tolist()).score)
