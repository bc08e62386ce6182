"""Whether a version treats forgotten rows like rows that it never saw.

    retune forget --check classifier/4

The forgotten rows are those on the list that an earlier version of the model learned from. They are compared with the
version's own test rows by how likely it finds the right label or the answer, beyond what its untouched base makes of
the row (`retune.evaluation.membership`). A text that is much like others that were learned stays likely, and rightly
so.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from retune.config import params
from retune.data import messages, suppression, text_keys
from retune.errors import Refused
from retune.evaluation import membership
from retune.evaluation.statistics import Interval
from retune.lineage import ancestry, history
from retune.lineage.ancestry import LEARNED
from retune.lineage.entry_facts import md5_fact
from retune.lineage.parent_version import BASE
from retune.models import causal_lm, chat_template, classifier, manifest
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
    forgotten_rows: int  # of a label that the version knows, or with an answer
    test_rows: int
    learned: tuple[str, ...]  # ids on the list that the version learned from
    auc: Interval | None  # chance that a forgotten row looks more learned than a test row; 0.5: no difference

    @property
    def passed(self) -> bool:
        return self.verdict in (LIKE_UNSEEN, TOO_FEW)


def check(reference: str) -> ForgetCheck:
    """Raises Refused where nothing was forgotten that an earlier version learned from, or the rows' bytes are gone."""
    version, listed = versions.resolve(reference), suppression.read()
    learned = _listed_rows((*_sides(version), *_inherited(version)), listed)
    if len(learned):
        return ForgetCheck(str(version), LEARNED_FROM, len(learned), 0, tuple(learned["id"]), None)
    folder = versions.model_folder(version)
    earlier = [each for each in versions.versions(version.name) if each.version < version.version]
    forgotten = _listed_rows((part for each in earlier for part in _sides(each)), listed)
    if forgotten.empty:
        raise Refused(
            f"no row on the list of forgotten rows was learned by a version before {version}",
            remedy="name a version that was made after `retune forget`",
        )
    test = _table(version, "test")
    test = test[~suppression.contains(listed, test["id"])]
    forgotten, test = (_scorable(table, folder) for table in (forgotten, test))
    counts = len(forgotten), len(test)
    if min(counts) < FEWEST:
        return ForgetCheck(str(version), TOO_FEW, *counts, (), None)
    rows = pd.concat([forgotten, test], ignore_index=True)
    is_forgotten = np.arange(len(rows)) < len(forgotten)
    values, reference_values = _certainties(folder, rows)
    above = membership.beyond_difficulty(values, reference_values, ~is_forgotten)
    area = membership.auc(above, is_forgotten, params.load().evaluate.confidence)
    verdict = LIKE_LEARNED if area and area.low > 0.5 else LIKE_UNSEEN
    return ForgetCheck(str(version), verdict, *counts, (), area)


def _scorable(rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Those of a label that the version knows; of a version that writes, those with an answer."""
    version_manifest = manifest.read(folder)
    if isinstance(version_manifest, manifest.CausalLMManifest):
        return rows[rows["label"] != messages.NO_ANSWER]
    return rows[rows["label"].isin(version_manifest.labels)]


def _certainties(folder: Path, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """[rows] how sure the version and its untouched base are of the right answers."""
    if isinstance(manifest.read(folder), manifest.CausalLMManifest):
        return _log_likelihood(causal_lm.load(folder), rows), _log_likelihood(causal_lm.load_base_model(folder), rows)
    model, untouched = classifier.load(folder), classifier.load_probe(folder)
    labels, texts = model.manifest.labels, rows["text"].tolist()
    names = classifier.head_of_names(text_keys.label_names(labels), untouched.embed)
    truth = np.array([labels.index(label) for label in rows["label"]])
    return _log_odds(model, model.head, texts, truth), _log_odds(untouched, names, texts, truth)


def _log_odds(model: classifier.Classifier, head: torch.nn.Linear, texts: list[str], truth: np.ndarray) -> np.ndarray:
    """[rows] of the true label."""
    probability = classifier.logits_of(model.embed(texts), head).double().softmax(-1).numpy()
    return membership.certainty(probability[np.arange(len(truth)), truth])


def _log_likelihood(model: causal_lm.CausalLM, rows: pd.DataFrame) -> np.ndarray:
    """[rows] of a token of the answer, in nats."""
    pairs = zip(rows["text"], rows["label"], strict=True)
    likelihood = model.likelihood([chat_template.render(model.tokenizer, *pair) for pair in pairs])
    mean: np.ndarray = -likelihood.nll / np.maximum(likelihood.tokens, 1)
    return mean


def _sides(version: Version) -> Iterator[pd.DataFrame]:
    """The rows that a version may have learned from."""
    return (_table(version, side) for side in LEARNED)


def _inherited(version: Version) -> Iterator[pd.DataFrame]:
    """The same of the versions that it continued from. Raises UnknownAncestor where the history lacks one."""
    if version.tags.get("start", BASE) == BASE:
        return
    entry = history.read(version.name).registered(version.version)
    if entry is None:
        raise ancestry.UnknownAncestor(f"{version} is in no history, so what it continued from is not known")
    for each in ancestry.ancestors(entry, {}):
        for side in LEARNED:
            yield _rows_of(each.facts[md5_fact(side)], side, each.version_name)


def _table(version: Version, side: str) -> pd.DataFrame:
    md5 = version.tags.get(f"data.{side}")
    if not md5:
        raise Refused(f"{version} does not say which rows it learned from: it was made by an earlier release")
    return _rows_of(md5, side, str(version))


def _rows_of(md5: str, side: str, version: str) -> pd.DataFrame:
    table = dvc_store.table(md5, COLUMNS)
    if table is None:
        raise Refused(f"the {side} rows of {version} are gone from DVC's cache", remedy="`dvc pull` may bring them")
    rows: pd.DataFrame = table.to_pandas()
    return rows


def _listed_rows(tables: Iterable[pd.DataFrame], listed: suppression.Suppression) -> pd.DataFrame:
    """Those on the list, each in its newest state."""
    parts = [table[suppression.contains(listed, table["id"])] for table in tables]
    return pd.concat([pd.DataFrame(columns=COLUMNS), *parts]).drop_duplicates("id", keep="last")
