"""Continue from the champion, or start from the base: seconds of training and macro-F1 of both on the sample.

    python bench/incremental.py [--method full] [--first 0.8] [--without refunds] [--old-shares 0.2] [--epochs 1]
        [--factors 1.0] [--seeds 17] [--json FILE]

Curate and split of the whole sample, params as shipped. The champion is trained on the first part of the sample, in
the order of the file; then the rest arrives. "From the base" trains on all of it, "continued" goes on from the champion
with the rows that it did not know and a share of those that it did. All are scored on the same test rows, which none of
them saw. `--without LABEL` keeps a label out of the first part, so that it is new to the champion. Several values of a
knob, separated by commas, are tried one after the other.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from retune.config import params
from retune.config.classification import Incremental, Train
from retune.data import task_data
from retune.evaluation import statistics
from retune.lineage.parent_version import ParentVersion
from retune.models import classifier
from retune.models.manifest import read_classifier
from tasks.curate.__main__ import curate
from tasks.curate.row_steps import Context
from tasks.split import split
from tasks.train.context import train_context
from tasks.train.encoder.fit import fit
from tasks.train.parent import CONTENT, ParentClassifier

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = {"ticket_id": "id", "body": "text", "queue": "label", "customer_id": "group"}
NOBODY = ParentVersion("bench/1", "0" * 64, "0" * 40, "0" * 64, "0" * 32 + ".dir", "0" * 32, "0" * 32, True)


def sides(config: params.Params) -> dict[str, pd.DataFrame]:
    """The three sides of the sample, each in the order of the file, which is that of the ids."""
    table = pd.read_csv(ROOT / "tests/samples/tickets.csv", dtype="str", keep_default_na=False)
    table = table.rename(columns=COLUMNS)[[*COLUMNS.values()]].assign(source="sample", given="")
    rows = curate(table, Context(task_data.of(config.task), config.curate))[0]
    no_clusters = pd.DataFrame({"id": [], "cluster": []}, dtype="str")  # near-copies are no part of the question
    return split(rows, no_clusters, config.split, config.task)


def quiet(*_: Any, **__: Any) -> None:
    pass


def trained(
    train: pd.DataFrame, val: pd.DataFrame, section: Train, folder: Path, earlier: ParentClassifier | None = None
) -> dict[str, Any]:
    """Fit and save below `folder`. Returns the report, with the seconds of it all, by the clock and of the processor.

    Those of the processor say the same on a machine that others use too.
    """
    began, worked = time.monotonic(), time.process_time()
    result = fit(train, val, train_context(section, folder / "work", quiet), earlier)
    result.save(folder / "model")
    return {**result.report, "seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - worked}


def scored(folder: Path, rows: pd.DataFrame, label: str | None) -> dict[str, float]:
    predictions = classifier.load(folder / "model").predict(rows["text"].tolist()).labels
    numbers, _ = pd.factorize(pd.concat([rows["label"], pd.Series(predictions)]))
    truth, predicted = np.split(numbers, 2)
    scores = {"macro_f1": statistics.macro_f1(truth, predicted), "accuracy": statistics.accuracy(truth, predicted)}
    if label:
        mine = (rows["label"] == label).to_numpy()
        scores[f"recall of {label}"] = float(np.mean(np.array(predictions)[mine] == label))
    return scores


def compare(whole: dict[str, pd.DataFrame], section: Train, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A line for the champion, one for a start from the base, one for each way to continue."""
    ids = pd.concat([whole["train"], whole["val"]])["id"].sort_values(ignore_index=True)
    last = ids[int(options.first * len(ids)) - 1]
    first = {side: rows[(rows["id"] <= last) & (rows["label"] != options.without)] for side, rows in whole.items()}
    lines = []

    def log_result(name: str, folder: Path, report: dict[str, Any]) -> None:
        line = {"seed": section.seed, "model": name, **{key: report[key] for key in ("rows", "seconds", "cpu_seconds")}}
        lines.append(line | scored(folder, whole["test"], options.without))
        print(
            *(f"{key} {value:.4g}" if key != "model" else value for key, value in lines[-1].items()),
            sep="  ",
            flush=True,
        )

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        log_result(
            "champion, on the first part", folder / "1", trained(first["train"], first["val"], section, folder / "1")
        )
        log_result("from the base, on all", folder / "2", trained(whole["train"], whole["val"], section, folder / "2"))
        known_rows = pd.concat([first["train"], first["val"]] if section.refit else [first["train"]])[CONTENT]
        start = dataclasses.replace(NOBODY, refit=section.refit)
        champion = ParentClassifier(start, folder / "1/model", read_classifier(folder / "1/model"), known_rows)
        tries = [
            (share, epochs, factor)
            for share in options.old_shares
            for epochs in options.epochs
            for factor in options.factors
        ]
        for number, (share, epochs, factor) in enumerate(tries, 3):
            incremental = Incremental(replay_share=share, epochs=int(epochs), learning_rate_factor=factor)
            train_config = dataclasses.replace(section, incremental=incremental)
            report = trained(whole["train"], whole["val"], train_config, folder / str(number), champion)
            log_result(f"continued, old {share:g}, epochs {epochs:g}, rate x {factor:g}", folder / str(number), report)
    return lines


def main() -> None:
    def numbers(words: str) -> list[float]:
        return [float(word) for word in words.split(",")]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=["full", "lora"], default="full")
    parser.add_argument("--first", type=float, default=0.8)
    parser.add_argument("--without", metavar="LABEL")
    parser.add_argument("--old-shares", type=numbers, default=[0.2])
    parser.add_argument("--epochs", type=numbers, default=[1.0])
    parser.add_argument("--factors", type=numbers, default=[1.0])
    parser.add_argument("--seeds", type=numbers, default=[17.0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    config = params.load(ROOT / "params.yaml")
    whole, lines = sides(config), []
    for seed in options.seeds:
        section = dataclasses.replace(config.train, method=options.method, seed=int(seed))
        lines += compare(whole, section, options)
    if options.json:
        options.json.write_text(json.dumps(lines, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
