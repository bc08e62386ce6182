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

from retune.config import params
from retune.config.classification import Train
from retune.config.generation import InstructTrain, PreferTrain
from retune.data import replay_sampling, row_table
from retune.errors import Refused
from retune.evaluation import plots, statistics
from retune.lineage import parent_version
from retune.models import attention, causal_lm, chat_template, classifier, decoder, generation, packing
from retune.models.manifest import CausalLMManifest
from retune.system import failpoints, stage_io
from retune.system.files import file_sha256
from tasks.train import parent
from tasks.train.checkpoint import alone
from tasks.train.decoder import preference, sft
from tasks.train.distributed import collectives, launcher
from tasks.train.encoder.fit import fit

Section = Train | InstructTrain | PreferTrain
Sides = tuple[pd.DataFrame, pd.DataFrame]  # train, val
Told = tuple[list[dict[str, float]], dict[str, Any]]  # the points of the learning curve, and train.json


def main(
    train: Path, val: Path, general: Path, start_file: Path, model_folder: Path, reports: Path, work: Path
) -> None:
    section, begins = params.load().train, parent_version.read(start_file)
    device = classifier.pick_device(section.device)
    if not isinstance(section, Train):
        launcher.check(section.parallel, section.accumulate, device)
        if launcher.wanted(section.parallel):
            launcher.spread(section.parallel)
            return
    read = (train, val, general, start_file)
    with collectives.process_group(device), _folder(work / fingerprint(read, section)) as own:
        sides = row_table.read(train), row_table.read(val)
        if not collectives.rank():
            shutil.rmtree(model_folder, ignore_errors=True)
        if isinstance(section, Train):
            points, report = train_classifier(sides, section, begins, own, model_folder)
        elif isinstance(section, PreferTrain):
            points, report = preferrer(sides, section, begins, own, model_folder)
        else:
            points, report = writer(sides, row_table.read(general), section, begins, own, model_folder)
        failpoints.point("train:saved")
        if not collectives.rank():
            tell(points, report, reports)


@contextmanager
def _folder(own: Path) -> Iterator[Path]:
    """Where this process keeps what it needs to go on; gone when the training is done. The first holds the lock."""
    mine = own / f"process-{collectives.rank()}" if collectives.rank() else own
    with nullcontext() if collectives.rank() else alone(own):
        yield mine
        shutil.rmtree(mine, ignore_errors=True)


def tell(points: list[dict[str, float]], report: dict[str, Any], reports: Path) -> None:
    reports.mkdir(parents=True, exist_ok=True)
    curve = pd.DataFrame(points or [{"step": 0}])
    curve.to_csv(reports / "learning_curve.csv", index=False)
    plots.learning_curve(curve, reports / "plots" / "learning_curve.png")
    stage_io.write_json(report, reports / "train.json")


def train_classifier(
    sides: Sides, section: Train, begins: parent_version.ParentVersion | None, own: Path, folder: Path
) -> Told:
    earlier = parent.fetch(begins, own / "start") if begins else None
    card, tokenizer, tuned, report = fit(*sides, section, own, stage_io.progress, earlier)
    classifier.save(folder, card, tokenizer, tuned.encoder, tuned.head, tuned.probe)
    return tuned.curve.points, report


def writer(
    sides: Sides,
    general: pd.DataFrame,
    section: InstructTrain,
    begins: parent_version.ParentVersion | None,
    own: Path,
    folder: Path,
) -> Told:
    earlier = parent.fetch_writer(begins, own / "start") if begins else None
    card, tokenizer, network, curve, report = sft.fit(*sides, section, own, stage_io.progress, general, earlier)
    _save(folder, card, tokenizer, network)
    counts = {**report.get("start", {}), "new_labels": [], "gone_labels": []} if begins else {}
    return curve.points, {**report, "start": {**parent_version.as_dict(begins), **counts}}


def preferrer(
    sides: Sides, section: PreferTrain, begins: parent_version.ParentVersion | None, own: Path, folder: Path
) -> Told:
    """Every pair is new to the version that is started from: it has learned from rows of another kind."""
    if begins is None:
        raise Refused(
            "models/start.json says to start from the base, and which of two answers is better is learned by a version "
            "that writes answers already: `retune task prefer --from NAME@ALIAS` names it there"
        )
    earlier = parent.fetch_model(begins, own / "start")
    card, tokenizer, network, curve, report = preference.fit(*sides, section, earlier, own, stage_io.progress)
    _save(folder, card, tokenizer, network)
    counts = {"new_rows": report["rows"], "corrected_rows": 0, "old_rows": 0, "gone_rows": 0}
    return curve.points, {
        **report,
        "start": {**parent_version.as_dict(begins), **counts, "new_labels": [], "gone_labels": []},
    }


def _save(folder: Path, card: CausalLMManifest, tokenizer: Any, network: nn.Module) -> None:
    if not collectives.rank():
        causal_lm.save(folder, card, tokenizer, network)


def fingerprint(read: tuple[Path, ...], section: Section) -> str:
    """What a checkpoint depends on: the rows, the start, the params, the code of training, torch and the device."""
    parts = [file_sha256(path) for path in (*read, *_code())]
    parts += [json.dumps(section, default=vars), torch.__version__, str(classifier.pick_device(section.device))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _code() -> list[Path]:
    modules = (attention, causal_lm, chat_template, classifier, decoder, generation, packing)
    files = [Path(str(module.__file__)) for module in (*modules, replay_sampling, statistics)]
    return [*sorted(Path(__file__).parent.rglob("*.py")), *files]


if __name__ == "__main__":
    stage_io.run(main)
