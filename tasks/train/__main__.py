"""The shell of training: two sides and a start in, a model folder, its learning curve and a report out."""

import hashlib
import json
import shutil
from pathlib import Path

import pandas as pd
import torch

from tasks.core import example, faults, model, params, plots, scores, shell, start
from tasks.core.card import file_sha256
from tasks.train import champion
from tasks.train.checkpoint import alone
from tasks.train.fit import fit


def main(train: Path, val: Path, start_file: Path, model_folder: Path, reports: Path, work: Path) -> None:
    section, begins = params.load().train, start.read(start_file)
    own = work / fingerprint(train, val, start_file, section)
    with alone(own):
        earlier = champion.fetch(begins, own / "start") if begins else None
        sides = example.read(train), example.read(val)
        card, tokenizer, tuned, report = fit(*sides, section, own, shell.progress, earlier)
        shutil.rmtree(model_folder, ignore_errors=True)
        model.save(model_folder, card, tokenizer, tuned.encoder, tuned.head, tuned.probe)
        faults.point("train:saved")
        reports.mkdir(parents=True, exist_ok=True)
        curve = pd.DataFrame(tuned.curve.points or [{"step": 0}])
        curve.to_csv(reports / "learning_curve.csv", index=False)
        plots.learning_curve(curve, reports / "plots" / "learning_curve.png")
        shell.write_json(report, reports / "train.json")
        shutil.rmtree(own)


def fingerprint(train: Path, val: Path, start_file: Path, section: params.Train) -> str:
    """What a checkpoint depends on: both sides, the start, the params, the code of training, torch and the device."""
    parts = [file_sha256(path) for path in (train, val, start_file, *_code())]
    parts += [json.dumps(section, default=vars), torch.__version__, str(model.pick_device(section.device))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _code() -> list[Path]:
    return [*sorted(Path(__file__).parent.glob("*.py")), Path(model.__file__), Path(scores.__file__)]


if __name__ == "__main__":
    shell.run(main)
