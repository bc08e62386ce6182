"""Whether a model that writes gives back word for word the answers that it learned from.

An answer is given back if greedy decoding writes it after what stood before it in training: the prompt alone, or the
prompt and the first half of the answer (Carlini et al. 2021, Extracting Training Data from Large Language Models;
Carlini et al. 2023, Quantifying Memorization Across Neural Language Models). What the model does with answers that it
never saw stands beside it: a form letter is written word for word without being remembered.

Which answers count: those of at least `min_tokens` tokens that no row of the other side has too, each of them once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from retune.data import text_keys
from retune.evaluation.automation import exact_interval
from retune.evaluation.measures import Measure

PROMPT, HALF = "verbatim_share", "verbatim_share_from_half"
HELD_OUT = "_held_out"  # ends the names of the same of rows that were never seen
TITLES = {PROMPT: "learned answers given back word for word", HALF: "the same from half of the answer"}


@dataclass(frozen=True)
class Answers:
    """Answers of the rows of one side, and what of them the model writes by itself."""

    ids: list[str]
    texts: list[str]
    hits: list[np.ndarray]  # of each, [tokens without the end of sequence] of bool: as greedy decoding goes on

    def counted(self, others: "Answers", min_tokens: int) -> np.ndarray:
        """Places of the answers that count."""
        texts, other_texts = _keys(self.texts), _keys(others.texts)
        long = np.array([len(hits) >= min_tokens for hits in self.hits], dtype=bool)
        first = ~pd.Series(texts, dtype="str").duplicated().to_numpy()
        places: np.ndarray = np.flatnonzero(long & first & ~pd.Series(texts, dtype="str").isin(set(other_texts)))
        return places

    def given_back(self, place: int, name: str) -> bool:
        hits = self.hits[place]
        return bool(hits[len(hits) // 2 if name == HALF else 0 :].all())


def measures(learned: Answers, held_out: Answers, min_tokens: int, confidence: float) -> dict[str, Measure]:
    """Shares with the interval of Clopper & Pearson 1934; none of a side of which no answer counts."""
    values = {}
    for suffix, side, other in (("", learned, held_out), (HELD_OUT, held_out, learned)):
        places = side.counted(other, min_tokens)
        for name, title in TITLES.items() if len(places) else ():
            hits = sum(side.given_back(place, name) for place in places)
            spread = exact_interval(hits, len(places), (1 + confidence) / 2)
            whole = f"{title}, of rows never seen" if suffix else title
            values[name + suffix] = Measure(whole, spread.value, spread.low, spread.high, len(places))
    return values


def _keys(texts: Sequence[str]) -> list[str]:
    return text_keys.same(pd.Series(texts, dtype="str")).tolist()
