"""Training a classifier: fit the probe, fine-tune from it and, if params say so, refit on train + val.

Or, if models/start.json names an earlier version: go on from its weights with new rows and a share of the old.
"""

import copy
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from retune.config.classification import Train
from retune.evaluation import statistics, temperature
from retune.lineage import parent_version
from retune.models import base_model, classifier, probe, row_vectors
from retune.models.manifest import ClassifierManifest
from retune.preflight import base_check
from retune.system.stage_io import heartbeat
from tasks.train import parent
from tasks.train.context import TrainContext, machine, make_deterministic, warn
from tasks.train.encoder.objective import Round, Rows, fine_tune
from tasks.train.loop import TrainingHistory
from tasks.train.parent import ParentClassifier, RowSelection

USUAL_RATES = {"full": (1e-5, 1e-4), "lora": (1e-4, 2e-3)}


@dataclass(frozen=True)
class TrainedModel:
    """What one round of training made."""

    encoder: classifier.Encoder
    head: nn.Linear
    probe: nn.Linear
    history: TrainingHistory
    val_logits: torch.Tensor  # [val rows, labels] of the epoch that was chosen; no rows if all were learned from


@dataclass(frozen=True)
class TrainedClassifier:
    """What a training made: a model folder that is not written yet, and how it went."""

    manifest: ClassifierManifest
    tokenizer: Any
    model: TrainedModel
    rows: row_vectors.RowVectors  # learned from, by the frozen base
    report: dict[str, Any]
    validation: pd.DataFrame  # id, label, predicted and confidence of rows that were not learned from at the time

    def save(self, folder: Path) -> None:
        """Write the model folder."""
        model = self.model
        classifier.save(folder, self.manifest, self.tokenizer, model.encoder, model.head, model.probe)
        row_vectors.write(self.rows, folder)


@dataclass(frozen=True)
class EmbeddedSplit:
    """One split in every shape that training needs it in."""

    rows: Rows
    vectors: torch.Tensor  # [rows, width], of the frozen base


@dataclass(frozen=True)
class Data:
    """What is learned from and validated on."""

    train: EmbeddedSplit
    val: EmbeddedSplit
    labels: list[str]  # in the order of their ids
    pad_id: int


def fit(
    train: pd.DataFrame, val: pd.DataFrame, context: TrainContext[Train], start: ParentClassifier | None = None
) -> TrainedClassifier:
    """Train on the rows of `train`, choose on those of `val`: from the base, or from the weights of `start`.

    Writes only below `context.work`. Raises Refused for a base or a start that the params do not describe.
    """
    began = time.monotonic()
    config, device = context.config, context.device
    if start:
        parent.check(start, config)
    warnings = warn(unusual_rate(config))
    make_deterministic(config.seed)
    tokenizer, data = _prepare(train, val, context)
    print(f"embedded {len(train) + len(val)} rows in {time.monotonic() - began:.1f} s on {device}", flush=True)
    if start:
        model, report = _from_parent(data, _select_rows(train, val, config, start), context, start)
    else:
        model, report = _from_base(data, context)
    manifest = _manifest(config, data, model.val_logits, start)
    report |= {
        "method": config.method,
        "refit": config.refit,
        "labels": len(data.labels),
        "temperature": manifest.temperature,
        **_parameter_counts(model, config.method),
        "seconds": round(time.monotonic() - began, 1),
        "resumed_from_step": model.history.resumed_from,
        **machine(device),
        "warnings": warnings,
    }
    rows = _row_vectors([train, val], [data.train, data.val], config)
    return TrainedClassifier(manifest, tokenizer, model, rows, report, _validation(val, model.val_logits, manifest))


def _manifest(config: Train, data: Data, logits: torch.Tensor, start: ParentClassifier | None) -> ClassifierManifest:
    """Without rows to fit the temperature on, a version that continued from another has that one's."""
    truth, otherwise = data.val.rows.label_ids[: len(logits)], start.manifest.temperature if start else 1.0
    degrees = temperature.fit(logits.numpy(), np.array(truth, dtype=int), otherwise)
    base = config.base
    return ClassifierManifest(config.method, data.labels, base.name, base.sha256, config.max_tokens, degrees)


def _validation(val: pd.DataFrame, logits: torch.Tensor, manifest: ClassifierManifest) -> pd.DataFrame:
    """What models/validation.parquet holds: the answers on which evaluation may choose thresholds."""
    probability = (logits / manifest.temperature).softmax(-1).numpy()
    table = val[["id", "label"]].head(len(probability)).reset_index(drop=True)
    labels = [manifest.labels[place] for place in probability.argmax(-1)]
    confidence = probability.max(-1, initial=0.0).astype("float64")
    return table.assign(predicted=pd.Series(labels, dtype="str"), confidence=confidence)


def _row_vectors(frames: list[pd.DataFrame], splits: list[EmbeddedSplit], config: Train) -> row_vectors.RowVectors:
    """Of the rows that are learned from: with a refit, those of val too."""
    parts = len(frames) if config.refit else 1
    ids = pd.concat([frame["id"] for frame in frames[:parts]]).tolist()
    vectors = torch.cat([split.vectors for split in splits[:parts]])
    return row_vectors.sample(ids, vectors.numpy(), config.stored_vectors, config.seed)


def _prepare(train: pd.DataFrame, val: pd.DataFrame, context: TrainContext[Train]) -> tuple[Any, Data]:
    """The tokenizer, and the rows of both splits with the vectors of the frozen base."""
    config = context.config
    base_check.require_positions(base_model.find(config.base.name), config)
    tokenizer, network = classifier.load_base(config.base.name, config.base.sha256)
    base_check.require_savable(tokenizer, config.base.name)
    labels = sorted(set(train["label"]) | set(val["label"]))
    frozen = classifier.Encoder(network).to(context.device)
    with heartbeat(f"embedding {len(train) + len(val):,} rows"):
        splits = [_embed(frame, labels, frozen, tokenizer, config) for frame in (train, val)]
    return tokenizer, Data(splits[0], splits[1], labels, classifier.pad_id(tokenizer))


def _embed(
    frame: pd.DataFrame, labels: list[str], frozen: classifier.Encoder, tokenizer: Any, config: Train
) -> EmbeddedSplit:
    texts = frame["text"].tolist()
    ids = {label: number for number, label in enumerate(labels)}
    tokens = classifier.tokenize(tokenizer, texts, config.max_tokens)
    vectors = classifier.embed(frozen, tokenizer, texts, config.max_tokens, 2 * config.batch_size)
    return EmbeddedSplit(Rows(tokens, [ids[label] for label in frame["label"]]), vectors)


def _from_base(data: Data, context: TrainContext[Train]) -> tuple[TrainedModel, dict[str, Any]]:
    """Choose the epoch on val, then, if params say so, train once more on both splits for as many epochs."""
    config = context.config
    model = _train_once(data, data.train, data.val, config.epochs, context.in_folder("choose"))
    report = {"best_epoch": model.history.best_epoch, **_probe_scores(model.probe, data.val)}
    learned, choosing_history, val_logits = data.train, model.history, model.val_logits
    if config.refit:
        learned = _joined(data.train, data.val)
        model = _train_once(data, learned, None, choosing_history.best_epoch, context.refit(choosing_history.steps))
        model.history.after(choosing_history)
        model = replace(model, val_logits=val_logits)
    return model, {"start": parent_version.as_dict(None), "rows": len(learned.rows.label_ids), **report}


def _train_once(
    data: Data, train: EmbeddedSplit, val: EmbeddedSplit | None, epochs: int, context: TrainContext[Train]
) -> TrainedModel:
    """From the untouched base to a tuned model: the probe, then the encoder, each from its seed."""
    config, labels, targets = context.config, len(data.labels), train.rows.label_ids
    weights = _class_weights(targets, labels, config.class_weights)
    cheap = probe.fit(train.vectors, targets, labels, weights, config.probe)
    _, network = classifier.load_base(config.base.name, config.base.sha256, config.dropout)
    if config.method == "probe":
        logits = classifier.logits_of(val.vectors if val else train.vectors[:0], cheap)
        return TrainedModel(classifier.Encoder(network).to(context.device), cheap, cheap, TrainingHistory(), logits)

    torch.manual_seed(config.seed)  # the adapter's first weights
    if config.method == "lora":
        lora = config.lora
        network = classifier.add_adapter(network, lora.rank, lora.alpha, lora.dropout, config.base.name)
    encoder, head = classifier.Encoder(network).to(context.device), copy.deepcopy(cheap).to(context.device)
    rows = Round(train.rows, val.rows if val else None, epochs, data.pad_id, weights)
    history = fine_tune(encoder, head, rows, context)
    return TrainedModel(encoder.eval(), head, cheap, history, _logits(encoder, head, rows, config))


def _logits(encoder: classifier.Encoder, head: nn.Linear, data: Round, config: Train) -> torch.Tensor:
    """[val rows, labels] of the weights that a round has kept."""
    tokens = data.val.tokens if data.val else []
    return classifier.logits_of(classifier.embed_tokens(encoder, tokens, data.pad_id, 2 * config.batch_size), head)


def _select_rows(train: pd.DataFrame, val: pd.DataFrame, config: Train, start: ParentClassifier) -> RowSelection:
    """The rows to go on with. Refit means what it means from the base: val is learned from too."""
    rows = pd.concat([train, val], ignore_index=True) if config.refit else train
    existing_ids = {*train["id"], *val["id"]}
    selection = parent.select_rows(rows, existing_ids, start, config.incremental.replay_share, config.seed)
    print(
        f"continuing from {start.version.name}: {selection.new} new rows, {selection.corrected} of them corrected, and "
        f"{selection.old} old ones; {selection.gone} that it learned from are gone and cannot be unlearned",
        flush=True,
    )
    return selection


def _from_parent(
    data: Data, selection: RowSelection, context: TrainContext[Train], start: ParentClassifier
) -> tuple[TrainedModel, dict[str, Any]]:
    """One round from the weights of an earlier version, over the selected rows.

    No second round: the number of epochs is set and small, and a version that was refitted knows the rows of val,
    so nothing can be chosen on them. Only where neither it nor this round learns from val, the best of the epochs is
    kept. The probe stays what it is beside every model, the frozen base's on all rows.
    """
    config, labels = context.config, len(data.labels)
    train = _joined(data.train, data.val) if config.refit else data.train
    all_weights = _class_weights(train.rows.label_ids, labels, config.class_weights)
    cheap = probe.fit(train.vectors, train.rows.label_ids, labels, all_weights, config.probe)

    rows = _selected(train.rows, selection.rows)
    weights = _class_weights(rows.label_ids, labels, config.class_weights)
    network, parent_head = classifier.load_to_train(start.folder, config.dropout, config.lora.dropout)
    encoder = classifier.Encoder(network).to(context.device)
    new_labels = sorted(set(data.labels) - set(start.manifest.labels))
    fresh = None
    if new_labels:  # they start as all do from the base, but on the vectors of the earlier version
        vectors = classifier.embed_tokens(encoder, rows.tokens, data.pad_id, 2 * config.batch_size)
        fresh = probe.fit(vectors, rows.label_ids, labels, weights, config.probe)
    head = parent.carry_head(parent_head, start.manifest.labels, data.labels, fresh).to(context.device)

    val = None if config.refit or start.version.refit else data.val.rows
    epochs, slow = config.incremental.epochs, replace(context, config=parent.slower(config))
    last = Round(rows, val, epochs, data.pad_id, weights)
    history = fine_tune(encoder, head, last, slow.in_folder("continue"))
    report = {
        "start": {
            **parent_version.as_dict(start.version),
            "new_rows": selection.new,
            "corrected_rows": selection.corrected,
            "old_rows": selection.old,
            "gone_rows": selection.gone,
            "new_labels": new_labels,
            "gone_labels": sorted(set(start.manifest.labels) - set(data.labels)),
        },
        "rows": len(rows.label_ids),
        "best_epoch": history.best_epoch or epochs,
        **({} if config.refit else _probe_scores(cheap, data.val)),
    }
    return TrainedModel(encoder.eval(), head, cheap, history, _logits(encoder, head, last, config)), report


def unusual_rate(config: Train) -> list[str]:
    """A warning if the method's learning rate is outside the range that usually works."""
    if config.method == "probe":
        return []
    rate = config.lora.learning_rate if config.method == "lora" else config.full.learning_rate
    low, high = USUAL_RATES[config.method]
    if low <= rate <= high:
        return []
    return [f"train.{config.method}.learning_rate is {rate:g}; usual for this method is {low:g} to {high:g}"]


def _joined(first: EmbeddedSplit, second: EmbeddedSplit) -> EmbeddedSplit:
    rows = Rows(first.rows.tokens + second.rows.tokens, first.rows.label_ids + second.rows.label_ids)
    return EmbeddedSplit(rows, torch.cat([first.vectors, second.vectors]))


def _selected(rows: Rows, places: np.ndarray) -> Rows:
    return Rows([rows.tokens[place] for place in places], [rows.label_ids[place] for place in places])


def _class_weights(label_ids: list[int], labels: int, kind: str) -> torch.Tensor | None:
    """[labels]. `balanced`: every label weighs the same, however many rows it has; the mean row weighs 1."""
    if kind == "none":
        return None
    counts = Counter(label_ids)
    return torch.tensor(
        [len(label_ids) / (len(counts) * counts[label]) if counts[label] else 0.0 for label in range(labels)]
    )


def _probe_scores(head: nn.Linear, val: EmbeddedSplit) -> dict[str, float]:
    with torch.no_grad():
        predicted = head(val.vectors).argmax(-1).numpy()
    targets = np.array(val.rows.label_ids)
    return {
        "probe_val_accuracy": statistics.accuracy(targets, predicted),
        "probe_val_macro_f1": statistics.macro_f1(targets, predicted),
    }


def _parameter_counts(model: TrainedModel, method: str) -> dict[str, int]:
    head = sum(value.numel() for value in model.head.parameters())
    total = sum(value.numel() for value in model.encoder.parameters()) + head
    trained = sum(value.numel() for _, value in classifier.trainable({"encoder": model.encoder})) + head
    return {"parameters": total, "trained_parameters": head if method == "probe" else trained}
