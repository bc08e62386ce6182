"""Whether a version treats forgotten rows like rows that it never saw.

    retune forget --check classifier/4

The forgotten rows are those on the list that an earlier version of the model learned from. They are compared with the
version's own test rows by how likely it finds the right label, beyond what its untouched base makes of the row
(`retune.evaluation.membership`). A text that is much like others that were learned stays likely, and rightly so.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from retune.config import params
from retune.data import suppression, text_keys
from retune.errors import Refused
from retune.evaluation import membership
from retune.evaluation.statistics import Interval
from retune.lineage.ancestry import LEARNED
from retune.models import classifier
from retune.registry import versions
from retune.registry.version import Version
from retune.system import dvc_store

COLUMNS = ["id", "text", "label"]
FEWEST = 10  # rows of each kind
LEARNED_FROM, LIKE_LEARNED, LIKE_UNSEEN, TOO_FEW = "learned from them", "like learned", "like unseen", "too few rows"


@dataclass(frozen=True)
class ForgetCheck:
    version: str
    verdict: str  # one of the four above
    forgotten_rows: int  # of a label that the version knows
    test_rows: int
    learned: tuple[str, ...]  # ids on the list that the version learned from
    auc: Interval | None  # chance that a forgotten row looks more learned than a test row; 0.5: no difference

    @property
    def passed(self) -> bool:
        return self.verdict in (LIKE_UNSEEN, TOO_FEW)


def check(reference: str) -> ForgetCheck:
    """Raises Refused where nothing was forgotten that an earlier version learned from, or the rows' bytes are gone."""
    version, listed = versions.resolve(reference), suppression.read()
    learned = _listed_rows(_sides(version), listed)
    if len(learned):
        return ForgetCheck(str(version), LEARNED_FROM, len(learned), 0, tuple(learned["id"]), None)
    folder = versions.model_folder(version)
    labels = classifier.load(folder).manifest.labels
    earlier = [each for each in versions.versions(version.name) if each.version < version.version]
    forgotten = _listed_rows((part for each in earlier for part in _sides(each)), listed)
    if forgotten.empty:
        raise Refused(
            f"no row on the list of forgotten rows was learned by a version before {version}",
            remedy="name a version that was made after `retune forget`",
        )
    test = _table(version, "test")
    test = test[~suppression.contains(listed, test["id"])]
    forgotten, test = (table[table["label"].isin(labels)] for table in (forgotten, test))
    counts = len(forgotten), len(test)
    if min(counts) < FEWEST:
        return ForgetCheck(str(version), TOO_FEW, *counts, (), None)
    rows = pd.concat([forgotten, test], ignore_index=True)
    is_forgotten = np.arange(len(rows)) < len(forgotten)
    model, untouched = classifier.load(folder), classifier.load_probe(folder)
    names = classifier.head_of_names(text_keys.label_names(labels), untouched.embed)
    truth = np.array([labels.index(label) for label in rows["label"]])
    values = _certainty(model, model.head, rows["text"].tolist(), truth)
    reference_values = _certainty(untouched, names, rows["text"].tolist(), truth)
    above = membership.beyond_difficulty(values, reference_values, ~is_forgotten)
    area = membership.auc(above, is_forgotten, params.load().evaluate.confidence)
    verdict = LIKE_LEARNED if area and area.low > 0.5 else LIKE_UNSEEN
    return ForgetCheck(str(version), verdict, *counts, (), area)


def _certainty(model: classifier.Classifier, head: torch.nn.Linear, texts: list[str], truth: np.ndarray) -> np.ndarray:
    """[rows] log-odds of the true label."""
    probability = classifier.logits_of(model.embed(texts), head).double().softmax(-1).numpy()
    return membership.certainty(probability[np.arange(len(truth)), truth])


def _sides(version: Version) -> Iterator[pd.DataFrame]:
    """The rows that a version may have learned from."""
    return (_table(version, side) for side in LEARNED)


def _table(version: Version, side: str) -> pd.DataFrame:
    md5 = version.tags.get(f"data.{side}")
    if not md5:
        raise Refused(f"{version} does not say which rows it learned from: it was made by an earlier release")
    table = dvc_store.table(md5, COLUMNS)
    if table is None:
        raise Refused(f"the {side} rows of {version} are gone from DVC's cache", remedy="`dvc pull` may bring them")
    rows: pd.DataFrame = table.to_pandas()
    return rows


def _listed_rows(tables: Iterator[pd.DataFrame], listed: suppression.Suppression) -> pd.DataFrame:
    """Those on the list, each in its newest state."""
    parts = [table[suppression.contains(listed, table["id"])] for table in tables]
    return pd.concat([pd.DataFrame(columns=COLUMNS), *parts]).drop_duplicates("id", keep="last")
