"""The shell of training: rows and a start in, a model folder, its learning curve and a report out."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from tasks.core import (
    attention,
    decoder,
    example,
    faults,
    mixture,
    model,
    packing,
    params,
    plots,
    scores,
    shell,
    start,
    template,
)
from tasks.core.card import Writes, file_sha256
from tasks.core.errors import Refused
from tasks.train import champion, instruct, launch, parallel, prefer
from tasks.train.checkpoint import alone
from tasks.train.fit import fit

Section = params.Train | params.InstructTrain | params.PreferTrain
Sides = tuple[pd.DataFrame, pd.DataFrame]  # train, val
Told = tuple[list[dict[str, float]], dict[str, Any]]  # the points of the learning curve, and train.json


def main(
    train: Path, val: Path, general: Path, start_file: Path, model_folder: Path, reports: Path, work: Path
) -> None:
    section, begins = params.load().train, start.read(start_file)
    device = model.pick_device(section.device)
    if not isinstance(section, params.Train):
        launch.check(section.parallel, section.accumulate, device)
        if launch.wanted(section.parallel):
            launch.spread(section.parallel)
            return
    read = (train, val, general, start_file)
    with parallel.together(device), _folder(work / fingerprint(read, section)) as own:
        sides = example.read(train), example.read(val)
        if not parallel.rank():
            shutil.rmtree(model_folder, ignore_errors=True)
        if isinstance(section, params.Train):
            points, report = train_classifier(sides, section, begins, own, model_folder)
        elif isinstance(section, params.PreferTrain):
            points, report = preferrer(sides, section, begins, own, model_folder)
        else:
            points, report = writer(sides, example.read(general), section, begins, own, model_folder)
        faults.point("train:saved")
        if not parallel.rank():
            tell(points, report, reports)


@contextmanager
def _folder(own: Path) -> Iterator[Path]:
    """Where this process keeps what it needs to go on; gone when the training is done. The first holds the lock."""
    mine = own / f"process-{parallel.rank()}" if parallel.rank() else own
    with nullcontext() if parallel.rank() else alone(own):
        yield mine
        shutil.rmtree(mine, ignore_errors=True)


def tell(points: list[dict[str, float]], report: dict[str, Any], reports: Path) -> None:
    reports.mkdir(parents=True, exist_ok=True)
    curve = pd.DataFrame(points or [{"step": 0}])
    curve.to_csv(reports / "learning_curve.csv", index=False)
    plots.learning_curve(curve, reports / "plots" / "learning_curve.png")
    shell.write_json(report, reports / "train.json")


def train_classifier(sides: Sides, section: params.Train, begins: start.Start | None, own: Path, folder: Path) -> Told:
    earlier = champion.fetch(begins, own / "start") if begins else None
    card, tokenizer, tuned, report = fit(*sides, section, own, shell.progress, earlier)
    model.save(folder, card, tokenizer, tuned.encoder, tuned.head, tuned.probe)
    return tuned.curve.points, report


def writer(
    sides: Sides,
    general: pd.DataFrame,
    section: params.InstructTrain,
    begins: start.Start | None,
    own: Path,
    folder: Path,
) -> Told:
    earlier = champion.fetch_writer(begins, own / "start") if begins else None
    card, tokenizer, network, curve, report = instruct.fit(*sides, section, own, shell.progress, general, earlier)
    _save(folder, card, tokenizer, network)
    counts = {**report.get("start", {}), "new_labels": [], "gone_labels": []} if begins else {}
    return curve.points, {**report, "start": {**start.as_dict(begins), **counts}}


def preferrer(sides: Sides, section: params.PreferTrain, begins: start.Start | None, own: Path, folder: Path) -> Told:
    """Every pair is new to the version that is started from: it has learned from rows of another kind."""
    if begins is None:
        raise Refused(
            "models/start.json says to start from the base, and which of two answers is better is learned by a version "
            "that writes answers already: `retune task prefer --from NAME@ALIAS` names it there"
        )
    earlier = champion.fetch_model(begins, own / "start")
    card, tokenizer, network, curve, report = prefer.fit(*sides, section, earlier, own, shell.progress)
    _save(folder, card, tokenizer, network)
    counts = {"new_rows": report["rows"], "corrected_rows": 0, "old_rows": 0, "gone_rows": 0}
    return curve.points, {**report, "start": {**start.as_dict(begins), **counts, "new_labels": [], "gone_labels": []}}


def _save(folder: Path, card: Writes, tokenizer: Any, network: nn.Module) -> None:
    if not parallel.rank():
        decoder.save(folder, card, tokenizer, network)


def fingerprint(read: tuple[Path, ...], section: Section) -> str:
    """What a checkpoint depends on: the rows, the start, the params, the code of training, torch and the device."""
    parts = [file_sha256(path) for path in (*read, *_code())]
    parts += [json.dumps(section, default=vars), torch.__version__, str(model.pick_device(section.device))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _code() -> list[Path]:
    nouns = (attention, decoder, mixture, model, packing, scores, template)
    return [*sorted(Path(__file__).parent.glob("*.py")), *(Path(str(noun.__file__)) for noun in nouns)]


if __name__ == "__main__":
    shell.run(main)
