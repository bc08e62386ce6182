"""Which answers of the curated rows do not fit what was asked, and which preferences contradict each other.

What is judged, and how: `retune.evaluation.answer_fit`, on vectors of the encoder that retune brings, as the base of a
model that writes gives none. Nothing is changed.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from retune.config import params
from retune.config.params import Classify
from retune.data import messages
from retune.data.row_table import REJECTED
from retune.errors import Refused, WrongUse
from retune.evaluation import answer_fit
from retune.models import text_vectors
from tasks.data_quality import curated_rows

FAR = 4.0  # robust standard deviations from which on an answer is doubtful
FEWEST = 20  # rows, with fewer of which nothing is usual


@dataclass(frozen=True)
class DoubtfulAnswer:
    id: str
    text: str  # what was asked last
    answer: str
    score: float  # robust standard deviations by which the answer fits worse than usual; doubtful from 4 on


@dataclass(frozen=True)
class Contradiction:
    """Two rows with like prompts; each chose what the other rejected."""

    id: str
    other: str
    text: str
    other_text: str
    similarity: float  # cosine of the less alike of both crossed pairs of answers


@dataclass(frozen=True)
class Examination:
    rows: int
    seconds: float
    base: str
    ranked: list[DoubtfulAnswer]  # all rows, the most doubtful first
    contradictions: list[Contradiction]

    @property
    def doubtful(self) -> list[DoubtfulAnswer]:
        return [each for each in self.ranked if each.score >= FAR]


Embed = Callable[[list[str]], torch.Tensor]


def examine(rows: pd.DataFrame, embed: Embed, base: str, say: Callable[[str], None]) -> Examination:
    """Judge the answers of `rows`. embed: vectors of length 1 [texts, width]. Raises Refused where rows are too few."""
    began = time.monotonic()
    if len(rows) < FEWEST:
        raise Refused(f"{len(rows)} rows are too few to judge answers by", remedy=f"it takes {FEWEST}")
    texts, answers = [*map(_question, rows["text"])], rows["label"].tolist()
    prompts, chosen = _vectors(embed, texts), _vectors(embed, answers)
    say(f"judging the answers of {len(rows):,} rows")
    doubts = answer_fit.doubts(prompts, chosen)
    pairs = []
    if REJECTED in rows:
        pairs = answer_fit.contradictions(prompts, chosen, _vectors(embed, rows[REJECTED].tolist()))
    ids = rows["id"].tolist()
    return Examination(
        rows=len(rows),
        seconds=round(time.monotonic() - began, 1),
        base=base,
        ranked=[
            DoubtfulAnswer(ids[row], texts[row], answers[row], round(float(doubts[row]), 2))
            for row in np.argsort(-doubts, kind="stable")
        ],
        contradictions=[
            Contradiction(ids[one], ids[other], texts[one], texts[other], round(cosine, 4))
            for one, other, cosine in pairs
        ],
    )


def _question(text: str) -> str:
    return messages.words((messages.parse(text) or [])[-1:])


def _vectors(embed: Embed, texts: list[str]) -> answer_fit.Array:
    vectors: answer_fit.Array = embed(texts).numpy()
    return vectors


def examine_clone(say: Callable[[str], None]) -> Examination:
    """The same of the curated rows of this clone. Raises WrongUse where they have labels."""
    config = params.load()
    if isinstance(config, Classify):
        raise WrongUse("task classify has labels: `retune data labels` judges those")
    device = config.train.device
    return examine(curated_rows.read(), lambda texts: text_vectors.embed(texts, device), text_vectors.SHIPPED.name, say)
