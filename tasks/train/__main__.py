"""The train stage: rows and a start in; a model folder, the validation rows that it did not learn from, reports out."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from retune.config import params
from retune.config.classification import Train
from retune.config.generation import InstructTrain, PreferTrain
from retune.data import replay_sampling, row_table
from retune.errors import Refused
from retune.evaluation import plots, statistics
from retune.lineage import parent_version
from retune.models import attention, causal_lm, chat_template, classifier, decoder, generation, packing, row_vectors
from retune.system import failpoints, stage_io
from retune.system.files import file_sha256
from tasks.train import parent
from tasks.train.checkpoint import exclusive
from tasks.train.context import train_context
from tasks.train.decoder import preference, sft
from tasks.train.distributed import collectives, launcher
from tasks.train.divergence import Diverged
from tasks.train.encoder.fit import fit

Section = Train | InstructTrain | PreferTrain
Splits = tuple[pd.DataFrame, pd.DataFrame]  # train, val
VALIDATION = "validation.parquet"  # beside the model folder
Outcome = tuple[list[dict[str, float]], dict[str, Any]]  # the points of the learning curve, and train.json


def main(train: Path, val: Path, replay: Path, start_file: Path, model_folder: Path, reports: Path, work: Path) -> None:
    config, version = params.load().train, parent_version.read(start_file)
    device = classifier.pick_device(config.device)
    if not isinstance(config, Train):
        launcher.check(config.parallel, config.accumulate, device)
        if launcher.is_launcher(config.parallel):
            launcher.launch(config.parallel)
            return
    inputs = (train, val, replay, start_file)
    with collectives.process_group(device), _folder(work / fingerprint(inputs, config)) as folder:
        splits = row_table.read(train), row_table.read(val)
        if not collectives.rank():
            shutil.rmtree(model_folder, ignore_errors=True)
        if isinstance(config, Train):
            points, report = train_classifier(splits, config, version, folder, model_folder)
        elif isinstance(config, PreferTrain):
            points, report = train_preferences(splits, config, version, folder, model_folder)
        else:
            points, report = train_instructions(splits, row_table.read(replay), config, version, folder, model_folder)
        failpoints.point("train:saved")
        if not collectives.rank():
            write_reports(points, report, reports)


@contextmanager
def _folder(work: Path) -> Iterator[Path]:
    """Where this process keeps its checkpoints; gone when the training is done. The first process holds the lock."""
    folder = work / f"process-{collectives.rank()}" if collectives.rank() else work
    with nullcontext() if collectives.rank() else exclusive(work):
        try:
            yield folder
        except Diverged:  # a checkpoint before that step leads to it again
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def write_reports(points: list[dict[str, float]], report: dict[str, Any], reports: Path) -> None:
    reports.mkdir(parents=True, exist_ok=True)
    curve = pd.DataFrame(points or [{"step": 0}])
    curve.to_csv(reports / "learning_curve.csv", index=False)
    plots.learning_curve(curve, reports / "plots" / "learning_curve.png")
    stage_io.write_json(report, reports / "train.json")


def train_classifier(
    splits: Splits, config: Train, version: parent_version.ParentVersion | None, work: Path, folder: Path
) -> Outcome:
    start = parent.fetch_classifier(version, work / "start") if version else None
    trained = fit(*splits, train_context(config, work, stage_io.progress), start)
    trained.save(folder)
    row_table.write(trained.validation, folder.with_name(VALIDATION))
    return trained.model.history.points, trained.report


def train_instructions(
    splits: Splits,
    replay: pd.DataFrame,
    config: InstructTrain,
    version: parent_version.ParentVersion | None,
    work: Path,
    folder: Path,
) -> Outcome:
    start = parent.fetch_causal_lm(version, work / "start") if version else None
    trained = sft.fit(*splits, train_context(config, work, stage_io.progress), replay, start)
    trained.save(folder)
    _write_unseen(splits[1], config, set(start.rows["id"]) if start else set(), folder)
    counts = {**trained.report["start"], "new_labels": [], "gone_labels": []} if version else {}
    return trained.history.points, {**trained.report, "start": {**parent_version.as_dict(version), **counts}}


def train_preferences(
    splits: Splits, config: PreferTrain, version: parent_version.ParentVersion | None, work: Path, folder: Path
) -> Outcome:
    """Every pair is new to the version that training starts from: it has learned from rows of another kind."""
    if version is None:
        raise Refused(
            "models/start.json says to start from the base, and which of two answers is better is learned by a version "
            "that writes answers already: `retune task prefer --from NAME@ALIAS` names it there"
        )
    start = parent.fetch_model(version, work / "start")
    trained = preference.fit(*splits, train_context(config, work, stage_io.progress), start)
    trained.save(folder)
    _write_unseen(splits[1], config, set(), folder)
    counts = {"new_rows": trained.report["rows"], "corrected_rows": 0, "old_rows": 0, "gone_rows": 0}
    return trained.history.points, {
        **trained.report,
        "start": {**parent_version.as_dict(version), **counts, "new_labels": [], "gone_labels": []},
    }


def _write_unseen(val: pd.DataFrame, config: InstructTrain | PreferTrain, learned: set[str], folder: Path) -> None:
    """id and label of the rows of val that were not learned from, for evaluation to ask for answers to them."""
    if not collectives.rank():
        unseen = val.head(0) if config.refit else val[~val["id"].isin(learned)]
        row_table.write(unseen[["id", "label"]].reset_index(drop=True), folder.with_name(VALIDATION))


def fingerprint(inputs: tuple[Path, ...], config: Section) -> str:
    """What a checkpoint depends on: the rows, the start, the params, the code of training, torch and the device."""
    parts = [file_sha256(path) for path in (*inputs, *_code())]
    parts += [json.dumps(config, default=vars), torch.__version__, str(classifier.pick_device(config.device))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _code() -> list[Path]:
    modules = (attention, causal_lm, chat_template, classifier, decoder, generation, packing)
    files = [Path(str(module.__file__)) for module in (*modules, replay_sampling, row_vectors, statistics)]
    return [*sorted(Path(__file__).parent.rglob("*.py")), *files]


if __name__ == "__main__":
    stage_io.run(main)
