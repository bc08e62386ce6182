"""Which labels of the curated rows are doubtful, which rows are far from all others, which labels are alike.

What is judged, and how: `retune.evaluation.wrong_labels`. Nothing is changed. A row whose label a person confirmed or
set (`retune.data.label_verdicts`) is judged with the others and not listed again.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from retune.config.classification import Train
from retune.data import label_verdicts
from retune.data.label_verdicts import Verdicts
from retune.evaluation import wrong_labels
from tasks.data_quality import curated_rows

LEVEL = 0.5  # from this score on another label is as likely as the row's own


@dataclass(frozen=True)
class Doubt:
    """A row whose label is doubtful, or which is far from all others."""

    id: str
    text: str
    label: str
    suggested: str  # the best other label
    score: float  # 0 to 1; from 0.5 on, another label is as likely as the row's own


@dataclass(frozen=True)
class AlikeLabels:
    """Two labels that are hard to tell apart."""

    label: str
    other: str
    rows: int
    share: float  # of both labels' rows that look like the other's; 0.5 is a guess


@dataclass(frozen=True)
class Examination:
    """What was judged, by which base, and what came of it."""

    rows: int
    seconds: float
    base: str
    reviewed: int  # rows that a person has judged already
    unjudged: dict[str, int]  # labels with too few rows to be judged -> rows
    ranked: list[Doubt]  # all rows but those, the most doubtful first
    outliers: list[Doubt]
    confused: list[AlikeLabels]

    @property
    def doubtful(self) -> list[Doubt]:
        return [each for each in self.ranked if each.score >= LEVEL]


def examine(
    rows: pd.DataFrame, vectors: torch.Tensor, config: Train, verdicts: Verdicts, say: Callable[[str], None]
) -> Examination:
    """Judge the labels of `rows`. vectors: [rows, width], of length 1. Raises Refused where there are too few rows."""
    began = time.monotonic()
    sizes = rows["label"].value_counts()
    small = sizes[sizes < wrong_labels.FOLDS]
    is_judged = ~rows["label"].isin(small.index).to_numpy()
    rows, vectors = rows[is_judged].reset_index(drop=True), vectors[torch.from_numpy(is_judged)]
    say(f"judging the labels of {len(rows):,} rows")
    truth, names = pd.factorize(rows["label"], sort=True)
    judgement = wrong_labels.judge(vectors, rows["text"].tolist(), truth, config.probe, config.seed, say)
    listed = _listing(rows, judgement, [str(name) for name in names])
    is_reviewed = np.array(
        [name in verdicts and verdicts[name].in_force(text, label) for name, text, label in _cells(rows)], dtype=bool
    )
    order = np.argsort(-judgement.doubt, kind="stable")
    return Examination(
        rows=len(rows),
        seconds=round(time.monotonic() - began, 1),
        base=config.base.name,
        reviewed=int(is_reviewed.sum()),
        unjudged={str(name): int(count) for name, count in small.items()},
        ranked=[listed[place] for place in order if not is_reviewed[place]],
        outliers=[listed[place] for place in judgement.outliers if not is_reviewed[place]],
        confused=[
            AlikeLabels(str(names[one]), str(names[other]), int(sizes[names[one]] + sizes[names[other]]), share)
            for one, other, share in judgement.confused()
        ],
    )


def _listing(rows: pd.DataFrame, judgement: wrong_labels.Judgement, names: list[str]) -> list[Doubt]:
    columns = zip(_cells(rows), judgement.suggested, judgement.doubt, strict=True)
    return [
        Doubt(name, text, label, names[suggested], round(float(score), 4))
        for (name, text, label), suggested, score in columns
    ]


def _cells(rows: pd.DataFrame) -> list[tuple[str, str, str]]:
    return list(zip(rows["id"], rows["text"], rows["label"], strict=True))


def examine_clone(say: Callable[[str], None]) -> Examination:
    """The same of the curated rows of this clone."""
    from retune.config import params

    config = curated_rows.of_labels(params.load())
    rows = curated_rows.read()
    vectors = curated_rows.embed(rows["text"].tolist(), config.train)
    return examine(rows, vectors, config.train, label_verdicts.read(), say)
