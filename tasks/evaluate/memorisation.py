"""Whether a classifier gives away which rows it learned from, in details.json under `memorisation`."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from retune.config.classification import Evaluate
from retune.evaluation import membership, row_sample
from retune.evaluation.measures import Measure, Section
from retune.models import classifier
from retune.models.classifier import Classifier

NAME = "memorisation"
TITLES = {
    "membership_auc": "membership inference by the loss, AUC",
    "membership_auc_calibrated": "membership inference by the loss beyond the row's difficulty, AUC",
}


@dataclass(frozen=True)
class Opinion:
    """A model, and the vectors that it gave the test rows already."""

    model: Classifier
    head: torch.nn.Linear
    vectors: torch.Tensor  # [test rows, width]


def section(
    learned_rows: pd.DataFrame, rows: pd.DataFrame, candidate: Opinion, untouched: Opinion, evaluate_config: Evaluate
) -> Section:
    """learned_rows: of the train split; rows: test rows; untouched: the base with the head of the nearest label name,
    which saw neither and so says how hard each row is. Rows of a label that the model does not know are left out.
    """
    labels, seed, count = candidate.model.manifest.labels, evaluate_config.seed, evaluate_config.memorisation.rows

    def sample(table: pd.DataFrame) -> np.ndarray:
        usable = np.flatnonzero(table["label"].isin(labels))
        drawn: np.ndarray = usable[row_sample.drawn(table["id"].iloc[usable], count, seed).to_numpy()]
        return drawn

    learned, held_out = learned_rows.iloc[sample(learned_rows)], sample(rows)
    truth = [labels.index(label) for label in (*learned["label"], *rows["label"].iloc[held_out])]
    members = np.arange(len(truth)) < len(learned)
    values, reference = (
        _certainty(each, learned["text"].tolist(), held_out, np.array(truth, dtype=int), evaluate_config.batch_size)
        for each in (candidate, untouched)
    )
    above = membership.beyond_difficulty(values, reference, ~members)
    measures = {}
    for (name, title), scores in zip(TITLES.items(), (values, above), strict=True):
        if area := membership.auc(scores, members, evaluate_config.confidence):
            measures[name] = Measure(title, area.value, area.low, area.high, len(truth))
    counts = {"learned_rows": int(members.sum()), "held_out_rows": int((~members).sum())}
    return Section(NAME, counts, measures)


def _certainty(
    opinion: Opinion, learned_texts: list[str], held_out: np.ndarray, truth: np.ndarray, batch_size: int
) -> np.ndarray:
    """[learned rows and test rows] log-odds of the true label."""
    if not len(truth):
        return np.zeros(0)
    vectors = torch.cat([opinion.model.embed(learned_texts, batch_size), opinion.vectors[held_out]])
    probability = classifier.logits_of(vectors, opinion.head).double().softmax(-1).numpy()
    return membership.certainty(probability[np.arange(len(truth)), truth])
