"""Whether a classifier gives away which rows it learned from, in details.json under `memorisation`."""

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


def section(
    learned_rows: pd.DataFrame,
    rows: pd.DataFrame,
    model: Classifier,
    untouched: tuple[Classifier, torch.nn.Linear],
    evaluate_config: Evaluate,
) -> Section:
    """learned_rows: of the train split; rows: test rows; untouched: the base and the head of the nearest label name,
    which saw neither and so says how hard each row is. Rows of a label that the model does not know are left out.
    """
    labels, seed = model.manifest.labels, evaluate_config.seed
    samples = [
        table[row_sample.drawn(table["id"], evaluate_config.memorisation.rows, seed).to_numpy()]
        for table in (learned_rows[learned_rows["label"].isin(labels)], rows[rows["label"].isin(labels)])
    ]
    table = pd.concat(samples, ignore_index=True)
    members = np.arange(len(table)) < len(samples[0])
    truth = np.array([labels.index(label) for label in table["label"]], dtype=int)
    base, names = untouched
    values, reference = (
        _certainty(each, head, table["text"].tolist(), truth, evaluate_config.batch_size)
        for each, head in ((model, model.head), (base, names))
    )
    above = membership.beyond_difficulty(values, reference, ~members)
    measures = {}
    for (name, title), scores in zip(TITLES.items(), (values, above), strict=True):
        if area := membership.auc(scores, members, evaluate_config.confidence):
            measures[name] = Measure(title, area.value, area.low, area.high, len(table))
    counts = {"learned_rows": int(members.sum()), "held_out_rows": int((~members).sum())}
    return Section(NAME, counts, measures)


def _certainty(
    model: Classifier, head: torch.nn.Linear, texts: list[str], truth: np.ndarray, batch_size: int
) -> np.ndarray:
    """[rows] log-odds of the true label."""
    if not texts:
        return np.zeros(0)
    probability = classifier.logits_of(model.embed(texts, batch_size), head).double().softmax(-1).numpy()
    return membership.certainty(probability[np.arange(len(truth)), truth])
