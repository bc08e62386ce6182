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
    version: ParentVersion
    folder: Path  # of the model
    manifest: ClassifierManifest
    rows: pd.DataFrame  # that it learned from, with the columns of CONTENT


@dataclass(frozen=True)
class ParentCausalLM:
    """The same of a causal language model."""

    version: ParentVersion
    folder: Path
    manifest: CausalLMManifest
    rows: pd.DataFrame  # none if it learned from pairs, which are rows of another kind


@dataclass(frozen=True)
class RowSelection:
    """Which rows to learn from: positions in the frame that they are selected from, and how many are of which kind."""

    rows: np.ndarray  # in the order of the frame
    new: int
    corrected: int  # of the new: known under the same id with another text or label
    old: int
    gone: int  # rows that the parent learned from and that no longer exist; nothing unlearns them


def fetch_classifier(version: ParentVersion, folder: Path) -> ParentClassifier:
    """Put the bytes of a version below `folder`. Raises Refused if some are lost or damaged."""
    _fetch(version, version.needed(), folder, BASE_INSTEAD)
    manifest = read_classifier(folder / MODEL)
    return ParentClassifier(version, folder / MODEL, manifest, _learned_rows(version, folder)[CONTENT])


def fetch_causal_lm(version: ParentVersion, folder: Path) -> ParentCausalLM:
    """The same of a causal language model."""
    _fetch(version, version.needed(), folder, BASE_INSTEAD)
    rows = _learned_rows(version, folder)
    if row_table.REJECTED in rows:
        rows = rows.head(0)
    return ParentCausalLM(version, folder / MODEL, read_causal_lm(folder / MODEL), rows[CONTENT])


def _learned_rows(version: ParentVersion, folder: Path) -> pd.DataFrame:
    paths = [path for path in version.needed() if path != MODEL]
    return pd.concat([row_table.read(folder / path) for path in paths], ignore_index=True)


def fetch_model(version: ParentVersion, folder: Path) -> Path:
    """The model folder alone, for a training to which the rows of the version are of another task."""
    _fetch(version, {MODEL: version.model_md5}, folder, "start from another version")
    return folder / MODEL


def _fetch(version: ParentVersion, hashes: dict[str, str], folder: Path, instead: str) -> None:
    try:
        for path, md5 in hashes.items():
            dvc_store.fetch(md5, folder / path)
    except dvc_store.MissingBytes as error:
        raise Refused(
            f"cannot continue from {version.name}: bytes gone, hashes kept. {error}; `dvc pull` may bring them back, or"
            f" {instead}"
        ) from None


def check(start: ParentClassifier, config: Train) -> None:
    """Raises Refused where the weights of the version are not such as these params would have made."""
    manifest = start.manifest
    values: dict[str, Any] = {
        "method": manifest.method,
        "base.name": manifest.base_name,
        "base.sha256": manifest.base_sha256,
    }
    if manifest.method == "lora":
        adapter = json.loads((start.folder / "adapter/adapter_config.json").read_text("utf-8"))
        values |= {"lora.rank": adapter["r"], "lora.alpha": adapter["lora_alpha"]}
    if reasons := incompatibilities(values, config):
        raise Refused(f"cannot continue from {start.version.name}: {'; '.join(reasons)}: {BASE_INSTEAD}")


def select_rows(
    rows: pd.DataFrame, existing_ids: set[str], start: ParentClassifier, share: float, seed: int
) -> RowSelection:
    """Every row that the version did not learn from as it is now, and of each label `share` of those that it did.

    Which of the old ones: those with the smallest hash of seed, version and id. The version is in it so that a
    chain of continued versions does not see the same share of the old rows over and over, and never the rest.
    existing_ids: of every row that still exists.
    """
    is_old = _is_learned(rows, start.rows)
    prefix = hashlib.sha256(f"{seed}:{start.version.fingerprint}:".encode())
    old = pd.DataFrame({"place": np.flatnonzero(is_old), "label": rows["label"].to_numpy()[is_old]})
    old["draw"] = [_draw(prefix, name) for name in rows["id"].to_numpy()[is_old]]
    ranks = old.groupby("label")["draw"].rank(method="first")
    drawn = old["place"][ranks <= np.ceil(share * old.groupby("label")["draw"].transform("size"))]
    places = np.sort(np.concatenate([np.flatnonzero(~is_old), drawn.to_numpy(dtype=int)]))
    learned_ids = set(start.rows["id"])
    return RowSelection(
        places,
        new=int((~is_old).sum()),
        corrected=int(rows["id"][~is_old].isin(learned_ids).sum()),
        old=len(drawn),
        gone=len(learned_ids - existing_ids),
    )


def count_new(rows: pd.DataFrame, existing_ids: set[str], learned: pd.DataFrame) -> dict[str, int]:
    """Of `rows`, all of which are learned from: how many are new to a version that learned `learned`."""
    is_old, learned_ids = _is_learned(rows, learned), set(learned["id"])
    return {
        "new_rows": int((~is_old).sum()),
        "corrected_rows": int(rows["id"][~is_old].isin(learned_ids).sum()),
        "old_rows": int(is_old.sum()),
        "gone_rows": len(learned_ids - existing_ids),
    }


def _is_learned(rows: pd.DataFrame, learned: pd.DataFrame) -> np.ndarray:
    """[rows] of bool: whether a row was learned as it is."""
    contents = set(learned[CONTENT].itertuples(index=False, name=None))
    return np.array([row in contents for row in rows[CONTENT].itertuples(index=False, name=None)], dtype=bool)


def _draw(prefix: "hashlib._Hash", name: str) -> str:
    digest = prefix.copy()
    digest.update(name.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def carry_head(
    head: nn.Linear, head_labels: Sequence[str], labels: Sequence[str], fresh: nn.Linear | None
) -> nn.Linear:
    """A head for `labels`: the row of `head` for each of `head_labels`, a row of `fresh` for each label that is new.

    A label that is gone has no row any more. `fresh` is a head for `labels`; None if none of them is new.
    """
    places = {label: number for number, label in enumerate(head_labels)}
    weights, biases = [], []
    for number, label in enumerate(labels):
        source, place = (head, places[label]) if label in places else (fresh, number)
        assert source is not None
        weights.append(source.weight.detach()[place].cpu())
        biases.append(source.bias.detach()[place].cpu())
    return classifier.linear(torch.stack(weights), torch.stack(biases))


def slower(config: Train) -> Train:
    """The params with all learning rates times `incremental.learning_rate_factor`."""
    factor = config.incremental.learning_rate_factor
    return replace(
        config,
        full=replace(config.full, learning_rate=config.full.learning_rate * factor),
        lora=replace(config.lora, learning_rate=config.lora.learning_rate * factor),
        head_learning_rate=config.head_learning_rate * factor,
    )
