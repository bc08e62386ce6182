"""Retune's fine-tuning against the plain Hugging Face Trainer, in turn, on one machine, on Banking77.

    python bench/banking77.py FOLDER [--trainer-epochs 8] [--methods probe,lora,full] [--seeds 17]

FOLDER holds train.csv and test.csv (columns text, category) of Banking77 (CC BY 4.0):
https://github.com/PolyAI-LDN/task-specific-datasets, folder banking_data. The Trainer's way is the usual one:
the same base, AutoModelForSequenceClassification, learning rate 1e-4, batches of 32 padded to their longest, all
of train. Retune's way is its own stages: curate, split, and `tasks.train.encoder.fit` with the params.yaml that is
shipped. Seconds are those of training alone, tokenising and the probe included, scoring the test rows left out.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from retune.config import params
from retune.config.classification import Train
from retune.config.common import NearCopies
from retune.data import task_data
from retune.evaluation import statistics
from retune.models import base_model as bases
from retune.models import classifier
from tasks.curate.__main__ import curate
from tasks.curate.row_steps import Context
from tasks.split import split
from tasks.train.context import train_context
from tasks.train.encoder.fit import fit

ROOT = Path(__file__).resolve().parent.parent


def rows(folder: Path) -> pd.DataFrame:
    sides = []
    for split_name in ("train", "test"):
        table = pd.read_csv(folder / f"{split_name}.csv", dtype="str", keep_default_na=False)
        numbers = [f"{split_name}-{number}" for number in range(len(table))]
        columns = {"id": numbers, "text": table["text"], "label": table["category"]}
        sides.append(pd.DataFrame({**columns, "group": "", "source": split_name, "given": split_name}))
    return pd.concat(sides, ignore_index=True)


def token_rows(table: pd.DataFrame, tokenizer: Any, labels: list[str]) -> list[dict[str, Any]]:
    """What `Trainer` learns from: tokens of at most 128 a text, and the number of its label."""
    tokens = tokenizer(table["text"].tolist(), truncation=True, max_length=128)
    return [
        {"input_ids": ids, "attention_mask": mask, "labels": labels.index(label)}
        for ids, mask, label in zip(tokens["input_ids"], tokens["attention_mask"], table["label"], strict=True)
    ]


def trainer_way(
    train: pd.DataFrame, test: pd.DataFrame, base: str, epochs: int, seed: int, device: str
) -> list[dict[str, Any]]:
    """One entry an epoch: accuracy on the test rows, and seconds of training until then."""
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        set_seed,
    )

    torch.use_deterministic_algorithms(False)  # Retune's way left it on; nobody trains plainly with it
    began = time.monotonic()
    set_seed(seed)
    folder = bases.find(base)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    labels = sorted(train["label"].unique())

    network = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(labels))
    test_rows = token_rows(test, tokenizer, labels)
    truth = np.array([row["labels"] for row in test_rows])
    curve: list[dict[str, Any]] = []
    scoring = 0.0

    class Score(TrainerCallback):
        def on_epoch_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            nonlocal scoring
            paused = time.monotonic()
            accuracy = statistics.accuracy(truth, trainer.predict(test_rows).predictions.argmax(-1))
            curve.append({"epoch": round(state.epoch), "accuracy": accuracy, "seconds": paused - began - scoring})
            scoring += time.monotonic() - paused
            print(f"trainer, epoch {state.epoch:.0f}: {accuracy:.4f} after {curve[-1]['seconds']:.0f} s", flush=True)

    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(
            output_dir=out,
            learning_rate=1e-4,
            per_device_train_batch_size=32,
            per_device_eval_batch_size=64,
            num_train_epochs=epochs,
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            report_to="none",
            seed=seed,
            use_cpu=device == "cpu",
        )
        trainer = Trainer(
            model=network,
            args=arguments,
            train_dataset=token_rows(train, tokenizer, labels),
            data_collator=DataCollatorWithPadding(tokenizer),
            callbacks=[Score()],
        )
        trainer.train()
    return curve


def retune_way(table: pd.DataFrame, section: Train) -> dict[str, Any]:
    shipped = params.load(ROOT / "params.yaml")
    all_rows = NearCopies(similarity=None, semantic=None, keep="all")  # the rivals keep near-copies too
    apart = replace(shipped.curate, near_copies=all_rows)
    accepted, _ = curate(table, Context(task_data.of(shipped.task), apart))
    no_clusters = pd.DataFrame({"id": [], "cluster": []}, dtype="str")
    sides = split(accepted, no_clusters, shipped.split, shipped.task)
    with tempfile.TemporaryDirectory() as work:
        began = time.monotonic()
        context = train_context(section, Path(work), lambda *_, **__: None)
        result = fit(sides["train"], sides["val"], context)
        seconds = time.monotonic() - began
    test = sides["test"]
    vectors = classifier.embed(result.model.encoder, result.tokenizer, test["text"].tolist(), section.max_tokens, 64)
    predictions = classifier.predict_labels(vectors, result.model.head, result.manifest.labels)
    accuracy = float(np.mean(np.array(predictions.labels) == test["label"].to_numpy()))
    rows_used = result.report["rows"]
    name = f"{section.method}{', refit' if section.refit else ''}, seed {section.seed}"
    print(f"retune, {name}: {accuracy:.4f} after {seconds:.0f} s on {rows_used} rows", flush=True)
    return {"name": name, "accuracy": accuracy, "seconds": seconds, "rows": rows_used, "tested": len(test)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trainer-epochs", type=int, default=8, help="0 leaves the Trainer out")
    parser.add_argument(
        "--methods", default="probe,lora,full", help="of Retune; +refit after one refits on train + val"
    )
    parser.add_argument("--seeds", default="17")
    parser.add_argument("--threads", type=int, help="of torch; all cores if not given")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    table = rows(options.folder)
    shipped = params.load(ROOT / "params.yaml").train
    ours = []
    for method in options.methods.split(","):
        for seed in map(int, options.seeds.split(",")):
            name, _, refit = method.partition("+")
            section = dataclasses.replace(shipped, method=name, refit=bool(refit), seed=seed, device=options.device)
            ours.append(retune_way(table, section))
    trainer_results = []
    if options.trainer_epochs:
        both = (table[table["given"] == side] for side in ("train", "test"))
        trainer_results = trainer_way(*both, shipped.base.name, options.trainer_epochs, shipped.seed, options.device)
        final = trainer_results[-1]
        for result in ours:
            if result["accuracy"] >= final["accuracy"]:
                share = result["seconds"] / final["seconds"]
                print(f"{result['name']} reaches the Trainer's {final['accuracy']:.4f} in {share:.2f} of its time")
    figures = {
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "device": str(classifier.pick_device(options.device)),
        "retune": ours,
        "trainer": trainer_results,
    }
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
