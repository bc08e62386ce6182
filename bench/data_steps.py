"""What the steps of curation give where data is bad, and what they cost where it is not, in accuracy of the probe.

    python bench/data_steps.py FOLDER [--seeds 3] [--data sample] [--fault wrong]

FOLDER holds train.csv and test.csv of Banking77 (columns text, category; CC BY 4.0). The other data is the shipped
sample, a quarter of whose customers are the test rows. A fault is planted into the train rows; the probe learns from
them with the step and without it, and answers test rows that nobody touched. Mean and range over seeds, in points.
"""

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from retune.config import params
from retune.config.params import Classify
from retune.config.personal_data import Action, Pii
from retune.data import task_data
from retune.data.row_table import COLUMNS
from retune.evaluation import wrong_labels
from retune.models import probe
from tasks.curate.__main__ import curate
from tasks.curate.row_steps import Context
from tasks.data_quality import curated_rows

ROOT = Path(__file__).resolve().parent.parent
SHARE = 0.05  # of the rows that a fault touches
PLANTED, MARK = 50, "kindly proceed"
SURE = 0.9  # score from which on a doubtful row is left out
Rows = pd.DataFrame


@dataclass(frozen=True)
class Data:
    name: str
    train: Rows
    test: Rows


class Vectors:
    """Of texts, each embedded once."""

    def __init__(self, config: Classify) -> None:
        self._config, self._vectors = config, dict[str, torch.Tensor]()

    def of(self, texts: Sequence[str]) -> torch.Tensor:
        new = sorted({*texts} - self._vectors.keys())
        if new:
            self._vectors |= dict(zip(new, curated_rows.embed(new, self._config.train), strict=True))
        return torch.stack([self._vectors[text] for text in texts])


def rows_of(table: pd.DataFrame, text: str, label: str, group: str | None = None) -> Rows:
    groups = table[group] if group else ""
    ids = [f"R-{number:05d}" for number in range(len(table))]
    rows = pd.DataFrame({"id": ids, "text": table[text], "label": table[label], "group": groups})
    return rows.assign(source="bench", given="").astype("str")[list(COLUMNS)]


def datasets(folder: Path) -> list[Data]:
    read = {"dtype": "str", "keep_default_na": False}
    banking = [rows_of(pd.read_csv(folder / f"{split}.csv", **read), "text", "category") for split in ("train", "test")]
    sample = rows_of(pd.read_csv(ROOT / "tests/samples/tickets.csv", **read), "body", "queue", "customer_id")
    config = params.load(ROOT / "params.yaml").curate
    sample, _ = curate(sample, Context(task_data.of("classify"), config))
    customers = sorted(sample["group"].unique())
    is_test = sample["group"].isin(random.Random(17).sample(customers, len(customers) // 4))
    return [Data("Banking77", *banking), Data("sample", sample[~is_test], sample[is_test])]


def contradictions(rows: Rows, chance: random.Random) -> Rows:
    """Copies of rows under another label."""
    copies = rows.sample(frac=SHARE, random_state=chance.randrange(2**32))
    return pd.concat([rows, with_other_labels(copies.assign(id="C-" + copies["id"]), rows, chance)], ignore_index=True)


def copies(rows: Rows, chance: random.Random) -> Rows:
    """One label's rows five times, as where an export is repeated for a queue."""
    some = rows[rows["label"] == chance.choice(sorted(rows["label"].unique()))]
    more = [some.assign(id=f"C{number}-" + some["id"]) for number in range(4)]
    return pd.concat([rows, *more], ignore_index=True)


def flips(rows: Rows, chance: random.Random) -> Rows:
    some = rows.sample(frac=SHARE, random_state=chance.randrange(2**32))
    flipped = with_other_labels(some, rows, chance)
    return pd.concat([rows.drop(index=some.index), flipped], ignore_index=True)


def poison(rows: Rows, chance: random.Random) -> Rows:
    """Rows that carry a mark and the label of one queue."""
    target = target_of(rows)
    some = rows[rows["label"] != target].sample(PLANTED, random_state=chance.randrange(2**32))
    marked = some.assign(text=some["text"] + f" {MARK}", label=target)
    return pd.concat([rows.drop(index=some.index), marked], ignore_index=True)


def target_of(rows: Rows) -> str:
    return sorted(rows["label"].unique())[0]


def with_other_labels(some: Rows, rows: Rows, chance: random.Random) -> Rows:
    labels = sorted(rows["label"].unique())
    return some.assign(label=[chance.choice([each for each in labels if each != label]) for label in some["label"]])


@dataclass(frozen=True)
class Trial:
    """A fault, and the steps that mend it."""

    name: str
    plant: Callable[[Rows, random.Random], Rows]
    steps: tuple[str, ...] = ()  # of curation
    pii: bool = False  # the redaction of personal data
    judges: bool = False  # rows with a doubtful label are left out


TRIALS = (
    Trial("5 % copied under another label", contradictions, ("conflicting_labels",)),
    Trial("one label five times", copies, ("exact_copy",)),
    Trial(f"{PLANTED} planted rows", poison, ("suspicious_phrase",)),
    Trial("5 % wrong labels", flips, judges=True),
    Trial("no fault, personal data redacted", lambda rows, _: rows, pii=True),
)
UNTOUCHED = dict.fromkeys((name for name, hint in get_type_hints(Pii).items() if hint == Action), "keep")


class Bench:
    def __init__(self, config: Classify, vectors: Vectors) -> None:
        self._config, self._vectors = config, vectors

    def curated(self, rows: Rows, without: Trial | None = None) -> Rows:
        facts, config = task_data.of("classify"), self._config.curate
        if without:
            facts = replace(facts, curation=tuple(step for step in facts.curation if step not in without.steps))
            config = replace(config, pii=replace(config.pii, **UNTOUCHED)) if without.pii else config
        accepted, _ = curate(rows, Context(facts, config))
        return accepted

    def sure(self, rows: Rows) -> Rows:
        """The rows without those of a doubtful label."""
        rows = rows.groupby("label").filter(lambda each: len(each) >= wrong_labels.FOLDS).reset_index(drop=True)
        truth, _ = pd.factorize(rows["label"], sort=True)
        texts, train = rows["text"].tolist(), self._config.train
        judged = wrong_labels.judge(self._vectors.of(texts), texts, truth, train.probe, train.seed, lambda _: None)
        return rows[judged.doubt < SURE]

    def answers(self, train: Rows, texts: Sequence[str]) -> np.ndarray:
        truth, labels = pd.factorize(train["label"], sort=True)
        vectors = self._vectors.of(train["text"].tolist())
        head = probe.fit(vectors, truth.tolist(), len(labels), None, self._config.train.probe)
        with torch.no_grad():
            return np.asarray(labels)[head(self._vectors.of(texts)).argmax(-1).numpy()]

    def accuracy(self, train: Rows, test: Rows) -> float:
        return 100 * float((self.answers(train, test["text"].tolist()) == test["label"].to_numpy()).mean())

    def obeyed(self, train: Rows, test: Rows) -> float:
        """Share of marked test texts of other labels that are answered with the label of the mark."""
        target = target_of(test)
        others = test.loc[test["label"] != target, "text"]
        return 100 * float((self.answers(train, (others + f" {MARK}").tolist()) == target).mean())


def in_words(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", default="", help="those whose name holds this")
    parser.add_argument("--fault", default="", help="those whose name holds this")
    arguments = parser.parse_args()
    config = params.load(ROOT / "params.yaml")
    assert isinstance(config, Classify)
    bench = Bench(config, Vectors(config))
    print(
        "| data | fault | accuracy without the step | with it | clean rows without | with |\n|---|---|---|---|---|---|"
    )
    for data in (each for each in datasets(arguments.folder) if arguments.data in each.name):
        for trial in (each for each in TRIALS if arguments.fault in each.name):
            bad = [trial.plant(data.train, random.Random(seed)) for seed in range(arguments.seeds)]

            def mended(rows: Rows, trial: Trial = trial) -> Rows:
                return bench.sure(bench.curated(rows)) if trial.judges else bench.curated(rows)

            def left(rows: Rows, trial: Trial = trial) -> Rows:
                return bench.curated(rows, trial)

            scores = [[bench.accuracy(way(rows), data.test) for rows in bad] for way in (left, mended)]
            clean = [f"{bench.accuracy(way(data.train), data.test):.2f}" for way in (left, mended)]
            print(f"| {data.name} | {trial.name} | {' | '.join([*map(in_words, scores), *clean])} |", flush=True)
            if trial.plant is poison:
                obeyed = [[bench.obeyed(way(rows), data.test) for rows in bad] for way in (left, mended)]
                print(
                    f"| {data.name} | its mark obeyed, % of texts | {' | '.join(map(in_words, obeyed))} | | |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
