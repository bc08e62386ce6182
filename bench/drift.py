"""How often the battery of drift raises a false alarm, and how many texts it needs to see a shift.

    python bench/drift.py [FOLDER of Banking77] [--windows 500 1000] [--repeats 200] [--no-evidently]

A classifier (logistic regression on the frozen base that Retune brings) learns half of the rows of some labels. The
other half is what is served: a reference of 1,000 texts and windows of n are drawn from it, with replacement. Nothing
changes; or a tenth of a window is of a topic that the classifier never saw; or one class comes twice as often. The same
kinds of windows are shown to Evidently's preset with its defaults, in an environment of its own that `uv` makes.

Ends with 1 if false alarms are more than 1% of the windows beyond chance, or if a window of 1,000 texts of Banking77
misses a new topic or a class that doubles in more than a tenth of the tries. The sample's queues are too alike, and too
often taken for each other, for such a promise: its figures are printed.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from retune.data import languages
from retune.data.drift import WORD
from retune.models import text_vectors
from retune.monitoring import battery
from retune.serving import sketches

ROOT = Path(__file__).resolve().parents[1]
LEVEL, REFERENCE, GOAL = 0.01, 1000, 0.9
LABELS, TOPICS, OF_EACH = 12, 3, 170  # that the classifier knows; that it does not; rows
KINDS = ("nothing", "new topic, 10%", "a class doubles")
PEER = "evidently==0.7.23"
TRIES, OF_PEER = 50, 30  # windows with a shift; windows of each kind that the peer sees


@dataclass(frozen=True)
class Stream:
    """Texts as they are served, and those of topics that the classifier never saw."""

    served: pd.DataFrame  # label, predicted, confidence, text, unknown, foreign
    topics: pd.DataFrame
    vectors: dict[str, np.ndarray]  # served and topics -> [rows, 32]

    def target(self, kind: str, draw: np.random.Generator) -> str:
        """The class that doubles, or the topic that is new."""
        rows = self.topics if kind.startswith("new topic") else self.served
        return str(draw.choice(rows["label"].unique()))

    def draw(self, kind: str, target: str, count: int, draw: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray]:
        weights = np.ones(len(self.served))
        if kind == "a class doubles":
            is_target = (self.served["label"] == target).to_numpy()
            weights[is_target] = 2 * (1 - is_target.mean()) / (1 - 2 * is_target.mean())
        fresh = count // 10 if kind.startswith("new topic") else 0
        rows = draw.choice(len(self.served), count - fresh, p=weights / weights.sum())
        others = draw.choice(np.flatnonzero(self.topics["label"] == target), fresh) if fresh else []
        frame = pd.concat([self.served.iloc[rows], self.topics.iloc[others]], ignore_index=True)
        return frame, np.concatenate([self.vectors["served"][rows], self.vectors["topics"][others]])


def records(folder: Path | None) -> pd.DataFrame:
    """text and label of the labels with the most rows."""
    if folder:
        parts = [pd.read_csv(folder / name) for name in ("train.csv", "test.csv")]
        rows = pd.concat(parts, ignore_index=True).rename(columns={"category": "label"})
    else:
        rows = pd.read_csv(ROOT / "tests/samples/tickets.csv").rename(columns={"body": "text", "queue": "label"})
    rows = rows.dropna(subset=["text", "label"]).drop_duplicates("text")
    common = rows["label"].value_counts()
    names = sorted(common[common >= 60].index)
    count = LABELS if folder else len(names) - TOPICS  # the sample has few labels
    names = list(np.random.default_rng(1).permutation(names)[: count + TOPICS])
    rows = rows[rows["label"].isin(names)].groupby("label").head(OF_EACH)
    return rows.assign(topic=rows["label"].isin(names[-TOPICS:])).sample(frac=1, random_state=1, ignore_index=True)


def stream(rows: pd.DataFrame) -> Stream:
    from sklearn.linear_model import LogisticRegression

    vectors = text_vectors.embed(rows["text"].tolist(), "cpu").numpy()
    learned = ~rows["topic"].to_numpy() & (np.arange(len(rows)) % 2 == 0)
    model = LogisticRegression(C=10, max_iter=1000).fit(vectors[learned], rows["label"][learned])
    chances = model.predict_proba(vectors)
    vocabulary = {word for text in rows["text"][learned] for word in words(text)}
    rows = rows.assign(
        predicted=model.classes_[chances.argmax(1)],
        confidence=chances.max(1),
        unknown=[bool(words(text) - vocabulary) for text in rows["text"]],
        foreign=[code not in ("en", "") for code in languages.of_texts(rows["text"])],
    )
    is_served = ~learned & ~rows["topic"].to_numpy()
    right = (rows["predicted"] == rows["label"])[is_served].mean()
    labels = rows["label"][is_served].nunique()
    print(f"{is_served.sum()} texts of {labels} labels are served; {right:.1%} are answered right")
    short = sketches.sketch(vectors).astype(np.float32)
    parts = {"served": is_served, "topics": rows["topic"].to_numpy()}
    frames = [rows[places].reset_index(drop=True) for places in parts.values()]
    return Stream(*frames, {name: short[places] for name, places in parts.items()})


def words(text: str) -> set[str]:
    return {word.lower() for word in WORD.findall(text)}


def sample(frame: pd.DataFrame, vectors: np.ndarray) -> battery.Sample:
    return battery.Sample(
        frame["predicted"].tolist(),
        frame["confidence"].to_numpy(),
        frame["text"].str.len().to_numpy(),
        vectors,
        frame["unknown"].to_numpy(),
        frame["foreign"].to_numpy(),
    )


def tries(source: Stream, kind: str, count: int, repeats: int) -> list[tuple[set[str], bool]]:
    """The tests that see a shift in a window, and whether one of them sees it in the next window too."""
    draw = np.random.default_rng([count, KINDS.index(kind)])
    outcomes = []
    for _ in range(repeats):
        reference, target = sample(*source.draw(KINDS[0], "", REFERENCE, draw)), source.target(kind, draw)
        windows = [battery.compare(reference, sample(*source.draw(kind, target, count, draw)), LEVEL) for _ in range(2)]
        shifted = {finding.test.name for finding in windows[-1] if finding.verdict == "shift"}
        outcomes.append((shifted, battery.verdict(windows)[0] == battery.DRIFT))
    return outcomes


def table(rows: list[tuple[Any, ...]]) -> None:
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def ours(source: Stream, windows: list[int], repeats: int, kinds: tuple[str, ...]) -> bool:
    """kinds: those that a window of 1,000 texts must not miss."""
    lines: list[tuple[Any, ...]] = [("what changes", "texts", "a window", "two in a row", "by which tests")]
    is_met = True
    for kind in KINDS:
        for count in windows:
            outcomes = tries(source, kind, count, repeats if kind == KINDS[0] else TRIES)
            alarms = sum(bool(shifted) for shifted, _ in outcomes)
            names = pd.Series([name for shifted, _ in outcomes for name in shifted], dtype="object").value_counts()
            by = ", ".join(f"{name} {share / len(outcomes):.0%}" for name, share in names.head(3).items())
            twice = sum(is_drift for _, is_drift in outcomes) / len(outcomes)
            lines.append((kind, count, f"{alarms / len(outcomes):.1%}", f"{twice:.1%}", by))
            if kind == KINDS[0]:
                is_met &= stats.binomtest(alarms, len(outcomes), LEVEL, "greater").pvalue > 0.05
            elif count >= 1000 and kind in kinds:
                is_met &= alarms >= GOAL * len(outcomes)
    table(lines)
    return is_met


def peer(source: Stream, windows: list[int]) -> None:
    """The same for Evidently's preset; says why where it cannot be installed."""
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    with tempfile.TemporaryDirectory() as folder:
        python = str(Path(folder) / "venv/bin/python")
        install = ["pip", "install", "--quiet", "--python", python, PEER, "pandas<3", "pyarrow"]
        try:
            for words_ in (["venv", "--quiet", str(Path(folder) / "venv")], install):
                subprocess.run([uv, *words_], check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"{PEER} is left out: it cannot be installed here ({str(error).splitlines()[0]})")
            return
        names = []
        for kind in KINDS:
            for count in windows:
                draw = np.random.default_rng([count, KINDS.index(kind)])
                for number in range(OF_PEER):
                    for part, (what, size) in {"before": (KINDS[0], REFERENCE), "now": (kind, count)}.items():
                        frame, _ = source.draw(what, source.target(kind, draw), size, draw)
                        columns = frame[["predicted", "confidence", "text"]].assign(length=frame["text"].str.len())
                        columns.to_parquet(Path(folder) / f"{KINDS.index(kind)}-{count}-{number}-{part}.parquet")
                names.append((kind, count, f"{KINDS.index(kind)}-{count}"))
        script = Path(__file__).with_name("drift_evidently.py")
        done = subprocess.run([python, script, folder], stdout=subprocess.PIPE, text=True)
        if done.returncode:
            print(f"{PEER} is left out: it ended with {done.returncode}")
            return
        answers = json.loads(done.stdout.splitlines()[-1])
    rows = [(kind, count, f"{answers[key]['any']:.1%}", f"{answers[key]['dataset']:.1%}") for kind, count, key in names]
    print(f"{PEER}, its drift preset with defaults: any column, and the data set (half of the columns)")
    table([("what changes", "texts", "any column", "data set"), *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="with train.csv and test.csv; without, the shipped sample")
    parser.add_argument("--windows", type=int, nargs="+", default=[500, 1000])
    parser.add_argument("--repeats", type=int, default=200, help="windows without a shift")
    parser.add_argument("--no-evidently", action="store_true")
    arguments = parser.parse_args()
    start = time.perf_counter()
    source = stream(records(arguments.folder))
    kinds = KINDS[1:] if arguments.folder else ()
    is_met = ours(source, arguments.windows, arguments.repeats, kinds)
    print(f"{time.perf_counter() - start:.0f} s")
    if not arguments.no_evidently:
        peer(source, arguments.windows)
    sys.exit(0 if is_met else 1)


if __name__ == "__main__":
    main()
