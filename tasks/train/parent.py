"""The version that training continues from: its weights, the rows that it learned from, and what is new beside them.

A start from the base needs none of this. A start from a version takes its model folder and its splits out of DVC's
store, each checked by its hash, and goes on from its weights with every row that it does not know, or knows with
another text or label, and with a share of the rows that it knows, so that it does not forget them.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from retune.config.classification import Train
from retune.data import row_table
from retune.errors import Refused
from retune.lineage.parent_version import MODEL, ParentVersion, incompatibilities
from retune.models import classifier
from retune.models.manifest import CausalLMManifest, ClassifierManifest, read_causal_lm, read_classifier
from retune.system import dvc_store

CONTENT = ["id", "text", "label"]  # what a row teaches; the other columns never reach the network
BASE_INSTEAD = 'write {"from": "base"} into models/start.json to start from the base'


@dataclass(frozen=True)
class ParentClassifier:
    start: ParentVersion
    folder: Path  # of the model
    manifest: ClassifierManifest
    known: pd.DataFrame  # the rows that it learned from, with the columns of CONTENT


@dataclass(frozen=True)
class ParentCausalLM:
    """The same of a model that writes."""

    start: ParentVersion
    folder: Path
    manifest: CausalLMManifest
    known: pd.DataFrame  # none if it learned from pairs, which are rows of another kind


@dataclass(frozen=True)
class Choice:
    """Which rows to learn from: positions in the frame that was chosen from, and how they came there."""

    rows: np.ndarray  # in the order of the frame
    new: int
    corrected: int  # of the new: known under the same id with another text or label
    old: int
    gone: int  # rows that the champion learned from and that are no longer there; nothing unlearns them


def fetch(start: ParentVersion, folder: Path) -> ParentClassifier:
    """Put the champion's bytes below `folder`. Raises Refused if anybody has lost or damaged them."""
    _bring(start, start.needed(), folder, BASE_INSTEAD)
    return ParentClassifier(start, folder / MODEL, read_classifier(folder / MODEL), _learned(start, folder)[CONTENT])


def fetch_writer(start: ParentVersion, folder: Path) -> ParentCausalLM:
    _bring(start, start.needed(), folder, BASE_INSTEAD)
    learned = _learned(start, folder)
    known = learned.head(0) if row_table.REJECTED in learned else learned
    return ParentCausalLM(start, folder / MODEL, read_causal_lm(folder / MODEL), known[CONTENT])


def _learned(start: ParentVersion, folder: Path) -> pd.DataFrame:
    return pd.concat([row_table.read(folder / path) for path in start.needed() if path != MODEL], ignore_index=True)


def fetch_model(start: ParentVersion, folder: Path) -> Path:
    """The same of its model folder alone, for a training to which its rows are of another task."""
    _bring(start, {MODEL: start.model_md5}, folder, "start from another version")
    return folder / MODEL


def _bring(start: ParentVersion, hashes: dict[str, str], folder: Path, instead: str) -> None:
    try:
        for path, md5 in hashes.items():
            dvc_store.fetch(md5, folder / path)
    except dvc_store.MissingBytes as error:
        raise Refused(
            f"cannot continue from {start.name}: bytes gone, hashes kept. {error}; `dvc pull` may bring them back, or"
            f" {instead}"
        ) from None


def check(champion: ParentClassifier, params: Train) -> None:
    """Raises Refused where the champion's weights are not such as these params would have made."""
    card = champion.manifest
    there: dict[str, Any] = {"method": card.method, "base.name": card.base_name, "base.sha256": card.base_sha256}
    if card.method == "lora":
        adapter = json.loads((champion.folder / "adapter/adapter_config.json").read_text("utf-8"))
        there |= {"lora.rank": adapter["r"], "lora.alpha": adapter["lora_alpha"]}
    if wrong := incompatibilities(there, params):
        raise Refused(f"cannot continue from {champion.start.name}: {'; '.join(wrong)}: {BASE_INSTEAD}")


def choose(rows: pd.DataFrame, there: set[str], champion: ParentClassifier, share: float, seed: int) -> Choice:
    """Every row that the champion did not learn from as it is now, and of each label `share` of those that it did.

    Which of the old ones: those with the smallest hash of seed, champion and id. The champion is in it so that a
    chain of continued versions does not see the same share of the old rows over and over, and never the rest.
    `there` are the ids of every row that still exists.
    """
    is_old = _is_known(rows, champion.known)
    begun = hashlib.sha256(f"{seed}:{champion.start.fingerprint}:".encode())
    old = pd.DataFrame({"at": np.flatnonzero(is_old), "label": rows["label"].to_numpy()[is_old]})
    old["draw"] = [_draw(begun, name) for name in rows["id"].to_numpy()[is_old]]
    ranks = old.groupby("label")["draw"].rank(method="first")
    kept = old["at"][ranks <= np.ceil(share * old.groupby("label")["draw"].transform("size"))]
    chosen = np.sort(np.concatenate([np.flatnonzero(~is_old), kept.to_numpy(dtype=int)]))
    ids = set(champion.known["id"])
    return Choice(
        chosen,
        new=int((~is_old).sum()),
        corrected=int(rows["id"][~is_old].isin(ids).sum()),
        old=len(kept),
        gone=len(ids - there),
    )


def counts(rows: pd.DataFrame, there: set[str], known: pd.DataFrame) -> dict[str, int]:
    """Of `rows`, all of which are learned from: how many are new to whom knows `known`; `there` as above."""
    is_old, ids = _is_known(rows, known), set(known["id"])
    return {
        "new_rows": int((~is_old).sum()),
        "corrected_rows": int(rows["id"][~is_old].isin(ids).sum()),
        "old_rows": int(is_old.sum()),
        "gone_rows": len(ids - there),
    }


def _is_known(rows: pd.DataFrame, known: pd.DataFrame) -> np.ndarray:
    """[rows] of bool: whether it is known as it is."""
    taught = set(known[CONTENT].itertuples(index=False, name=None))
    return np.array([row in taught for row in rows[CONTENT].itertuples(index=False, name=None)], dtype=bool)


def _draw(begun: "hashlib._Hash", name: str) -> str:
    one = begun.copy()
    one.update(name.encode("utf-8", "surrogatepass"))
    return one.hexdigest()


def carried(known: nn.Linear, known_labels: Sequence[str], labels: Sequence[str], fresh: nn.Linear | None) -> nn.Linear:
    """A head for `labels`: the champion's row for each label that it knows, a row of `fresh` for each that is new.

    A label that is gone has no row any more. `fresh` is a head for `labels`; None if all of them are known.
    """
    place = {label: number for number, label in enumerate(known_labels)}
    weights, biases = [], []
    for number, label in enumerate(labels):
        source, at = (known, place[label]) if label in place else (fresh, number)
        assert source is not None
        weights.append(source.weight.detach()[at].cpu())
        biases.append(source.bias.detach()[at].cpu())
    return classifier.linear(torch.stack(weights), torch.stack(biases))


def slower(params: Train) -> Train:
    """The params with all learning rates times `incremental.learning_rate_factor`."""
    factor = params.incremental.learning_rate_factor
    return replace(
        params,
        full=replace(params.full, learning_rate=params.full.learning_rate * factor),
        lora=replace(params.lora, learning_rate=params.lora.learning_rate * factor),
        head_learning_rate=params.head_learning_rate * factor,
    )
