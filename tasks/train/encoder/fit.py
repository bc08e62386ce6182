"""The story of training: fit the probe, fine-tune from it, and, if params say so, refit on train + val.

Or, if models/start.json names an earlier version: go on from its weights with new rows and a share of the old.
"""

import copy
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from retune.config.classification import Train
from retune.evaluation import statistics
from retune.lineage import parent_version
from retune.models import classifier
from retune.models.manifest import ClassifierManifest
from tasks.train import parent
from tasks.train.checkpoint import Checkpoints
from tasks.train.encoder import probe
from tasks.train.encoder.loop import OnProgress, Rows, TrainingHistory, fine_tune, prepare, refit
from tasks.train.parent import Choice, ParentClassifier

USUAL_RATES = {"full": (1e-5, 1e-4), "lora": (1e-4, 2e-3)}


@dataclass(frozen=True)
class TrainedModel:
    """What one round of training made."""

    encoder: classifier.Encoder
    head: nn.Linear
    probe: nn.Linear
    curve: TrainingHistory


@dataclass(frozen=True)
class Side:
    """One side in every shape that training needs it in."""

    rows: Rows
    vectors: torch.Tensor  # [rows, width], of the frozen base


def fit(
    train: pd.DataFrame,
    val: pd.DataFrame,
    params: Train,
    work: Path,
    on_progress: OnProgress,
    earlier: ParentClassifier | None = None,
) -> tuple[ClassifierManifest, Any, TrainedModel, dict[str, Any]]:
    """Train on the rows of `train`, choose on those of `val`: from the base, or from the weights of `earlier`.

    Writes only below `work`. Returns what model.json will say, the tokenizer, the model, and a report of how it went.
    """
    began = time.monotonic()
    if earlier:
        parent.check(earlier, params)
    warnings = unusual_rate(params)
    for warning in warnings:
        print(f"warning: {warning}", flush=True)
    device = prepare(params.seed, params.device)
    tokenizer, network = classifier.load_base(params.base.name, params.base.sha256)
    labels = sorted(set(train["label"]) | set(val["label"]))
    frozen = classifier.Encoder(network).to(device)
    train_side = _side(train, labels, frozen, tokenizer, params)
    val_side = _side(val, labels, frozen, tokenizer, params)
    print(f"embedded {len(train) + len(val)} rows in {time.monotonic() - began:.1f} s on {device}", flush=True)

    if earlier:
        choice = _choice(train, val, params, earlier)
        side, unseen = (_joined(train_side, val_side), None) if params.refit else (train_side, val_side)
        pad, own = classifier.pad_id(tokenizer), work / "continue"
        tuned, told = _from_champion(side, unseen, choice, labels, params, pad, device, own, on_progress, earlier)
    else:
        tuned, told = _from_base(train_side, val_side, labels, params, device, work, on_progress)

    card = ClassifierManifest(params.method, labels, params.base.name, params.base.sha256, params.max_tokens)
    report = told | {
        "method": params.method,
        "refit": params.refit,
        "labels": len(labels),
        **_sizes(tuned, params.method),
        "seconds": round(time.monotonic() - began, 1),
        "resumed_from_step": tuned.curve.resumed_from,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "cuda": str(torch.version.cuda or "none"),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warnings": warnings,
    }
    return card, tokenizer, tuned, report


def _from_base(
    train: Side, val: Side, labels: list[str], params: Train, device: torch.device, work: Path, on_progress: OnProgress
) -> tuple[TrainedModel, dict[str, Any]]:
    """Choose the epoch on val, then, if params say so, train once more on both sides for as many epochs."""
    tuned = _train_once(train, val, params.epochs, labels, params, device, work / "choose", on_progress)
    told = {"best_epoch": tuned.curve.best_epoch, **_probe_seen(tuned.probe, val)}
    rows = len(train.rows.truth)
    if params.refit:
        both, chosen = _joined(train, val), tuned.curve
        later, rows = refit(chosen, on_progress), len(both.rows.truth)
        tuned = _train_once(both, None, chosen.best_epoch, labels, params, device, work / "refit", later)
        tuned.curve.after(chosen)
    return tuned, {"start": parent_version.as_dict(None), "rows": rows, **told}


def _choice(train: pd.DataFrame, val: pd.DataFrame, params: Train, earlier: ParentClassifier) -> Choice:
    """The rows to continue with. Refit means what it means from the base: val is learned from too."""
    rows = pd.concat([train, val], ignore_index=True) if params.refit else train
    there = {*train["id"], *val["id"]}
    choice = parent.choose(rows, there, earlier, params.incremental.replay_share, params.seed)
    print(
        f"continuing from {earlier.start.name}: {choice.new} new rows, {choice.corrected} of them corrected, and "
        f"{choice.old} old ones; {choice.gone} that it learned from are gone and cannot be unlearned",
        flush=True,
    )
    return choice


def _from_champion(
    side: Side,
    val: Side | None,
    choice: Choice,
    labels: list[str],
    params: Train,
    pad: int,
    device: torch.device,
    work: Path,
    on_progress: OnProgress,
    earlier: ParentClassifier,
) -> tuple[TrainedModel, dict[str, Any]]:
    """One round from the champion's weights, over the chosen rows of `side`.

    No second round: the number of epochs is given and small, and a champion that was refitted knows the rows of val,
    so nothing can be chosen on them. Only where neither it nor this round learns from val, `val` is there, and the
    best of the epochs is kept. The probe stays what it is beside every model, the frozen base's on all rows.
    """
    every = _class_weights(side.rows.truth, len(labels), params.class_weights)
    cheap = probe.fit(side.vectors, side.rows.truth, len(labels), every, params.probe)

    own = _taken(side.rows, choice.rows)
    weights = _class_weights(own.truth, len(labels), params.class_weights)
    network, known = classifier.load_to_train(earlier.folder, params.dropout, params.lora.dropout)
    encoder = classifier.Encoder(network).to(device)
    new_labels = sorted(set(labels) - set(earlier.manifest.labels))
    fresh = None
    if new_labels:  # they start as all do from the base, but on the champion's vectors
        vectors = classifier.embed_tokens(encoder, own.tokens, pad, 2 * params.batch_size)
        fresh = probe.fit(vectors, own.truth, len(labels), weights, params.probe)
    head = parent.carried(known, earlier.manifest.labels, labels, fresh).to(device)

    epochs, watched = params.incremental.epochs, val.rows if val and not earlier.start.refit else None
    rates, checkpoints = parent.slower(params), Checkpoints(work)
    curve = fine_tune(encoder, head, own, watched, pad, weights, epochs, rates, checkpoints, on_progress)
    told = {
        **parent_version.as_dict(earlier.start),
        "new_rows": choice.new,
        "corrected_rows": choice.corrected,
        "old_rows": choice.old,
        "gone_rows": choice.gone,
        "new_labels": new_labels,
        "gone_labels": sorted(set(earlier.manifest.labels) - set(labels)),
    }
    best = {"best_epoch": curve.best_epoch or epochs, **(_probe_seen(cheap, val) if val else {})}
    return TrainedModel(encoder.eval(), head, cheap, curve), {"start": told, "rows": len(own.truth), **best}


def unusual_rate(params: Train) -> list[str]:
    """A warning if the method's learning rate is outside the range that usually works."""
    if params.method == "probe":
        return []
    rate = params.lora.learning_rate if params.method == "lora" else params.full.learning_rate
    low, high = USUAL_RATES[params.method]
    if low <= rate <= high:
        return []
    return [f"train.{params.method}.learning_rate is {rate:g}; usual for this method is {low:g} to {high:g}"]


def _side(frame: pd.DataFrame, labels: list[str], frozen: classifier.Encoder, tokenizer: Any, params: Train) -> Side:
    texts = frame["text"].tolist()
    numbers = {label: number for number, label in enumerate(labels)}
    return Side(
        Rows(classifier.tokenize(tokenizer, texts, params.max_tokens), [numbers[label] for label in frame["label"]]),
        classifier.embed(frozen, tokenizer, texts, params.max_tokens, 2 * params.batch_size),
    )


def _joined(one: Side, other: Side) -> Side:
    rows = Rows(one.rows.tokens + other.rows.tokens, one.rows.truth + other.rows.truth)
    return Side(rows, torch.cat([one.vectors, other.vectors]))


def _taken(rows: Rows, places: np.ndarray) -> Rows:
    return Rows([rows.tokens[place] for place in places], [rows.truth[place] for place in places])


def _train_once(
    train: Side,
    val: Side | None,
    epochs: int,
    labels: list[str],
    params: Train,
    device: torch.device,
    work: Path,
    on_progress: OnProgress,
) -> TrainedModel:
    """From the untouched base to a tuned model: the probe, then the encoder, each from its seed."""
    weights = _class_weights(train.rows.truth, len(labels), params.class_weights)
    first = probe.fit(train.vectors, train.rows.truth, len(labels), weights, params.probe)
    tokenizer, network = classifier.load_base(params.base.name, params.base.sha256, params.dropout)
    if params.method == "probe":
        return TrainedModel(classifier.Encoder(network).to(device), first, first, TrainingHistory())

    torch.manual_seed(params.seed)  # the adapter's first weights
    if params.method == "lora":
        lora = params.lora
        network = classifier.add_adapter(network, lora.rank, lora.alpha, lora.dropout, params.base.name)
    encoder, head = classifier.Encoder(network).to(device), copy.deepcopy(first).to(device)
    curve = fine_tune(
        encoder,
        head,
        train.rows,
        val.rows if val else None,
        classifier.pad_id(tokenizer),
        weights,
        epochs,
        params,
        Checkpoints(work),
        on_progress,
    )
    return TrainedModel(encoder.eval(), head, first, curve)


def _class_weights(truth: list[int], labels: int, kind: str) -> torch.Tensor | None:
    """`balanced`: every label weighs the same, however many rows it has; the mean row weighs 1."""
    if kind == "none":
        return None
    counts = Counter(truth)
    return torch.tensor(
        [len(truth) / (len(counts) * counts[label]) if counts[label] else 0.0 for label in range(labels)]
    )


def _probe_seen(head: nn.Linear, val: Side) -> dict[str, float]:
    with torch.no_grad():
        predicted = head(val.vectors).argmax(-1).numpy()
    truth = np.array(val.rows.truth)
    return {
        "probe_val_accuracy": statistics.accuracy(truth, predicted),
        "probe_val_macro_f1": statistics.macro_f1(truth, predicted),
    }


def _sizes(tuned: TrainedModel, method: str) -> dict[str, int]:
    head = sum(value.numel() for value in tuned.head.parameters())
    whole = sum(value.numel() for value in tuned.encoder.parameters()) + head
    learned = sum(value.numel() for _, value in classifier.trainable({"encoder": tuned.encoder})) + head
    return {"parameters": whole, "trained_parameters": head if method == "probe" else learned}
