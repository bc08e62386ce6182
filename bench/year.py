"""A simulated year: 52 weekly deliveries to a scheduled retraining, and what was decided each week, and why.

    python bench/year.py [--weeks 52] [--method probe] [--plot docs/assets/year.png] [--json FILE]

Works in a clone of its own in a temporary folder, on the shipped sample, against a Prefect server of its own. Each week
is one `retune retrain`, in a process of its own; the weeks follow each other at once. A quarter of the tickets never
comes in: each champion is scored on them, as a judge who does not know the gate.

Some weeks are empty. Some are bad: rubbish instead of a table, a column renamed, a flood of one copied ticket, only
labels that nobody knows. One is poisoned: two hundred tickets, each with another queue's label. One queue exists only
from the middle of the year on. Once a month the process is killed at a point drawn by lot and run again. Prints what
was decided each week; ends with 1 if a poisoned or bad week led to a promotion, the poisoned one to anything but a no,
a champion got worse than the one before on the tickets that nobody has seen, or a kill met no work.
"""

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
from orchestration import RETUNE, ROOT, clone, prefect_server

EMPTY, POISONED, LATE_QUEUE, LATE_FROM = {5, 13, 22, 31, 40, 48}, 30, "returns", 26
BAD = {8: "rubbish", 17: "renamed column", 27: "copied ticket", 36: "unknown labels"}
CRASHES = {3, 7, 11, 15, 19, 23, 26, 30, 34, 39, 43, 50}  # a week with work to be cut short, in each month
FIRST, POISON = 800, 200  # tickets at the start; in the poisoned week
SKIP = 5.0  # seconds that a week with nothing to do may take on an idle machine
NOISE = 0.02  # macro-F1 on the unseen tickets by which two equally good champions may differ
SELDOM = ("retrain:in-worktree", "retrain:before-settle")
COLUMNS = {
    "text": "body",
    "label": "queue",
    "id": "ticket_id",
    "group": "customer_id",
    "split": None,
    "rejected": None,
    "keep": [],
}
READING = {"delimiter": None, "encoding": None, "sheet": None, "header": True}
SETTINGS = {
    "train.max_tokens": 32,
    "validate.max_truncated_share": 1.0,
    "trigger.new_rows": 45,
    "fetch.settle_seconds": 0.0,
    "evaluate.bootstrap": 200,
    "split.test_share": 0.25,  # of so few tickets, that the gate can tell
    "promote.metric": "accuracy",
}


@dataclass
class Week:
    number: int
    kind: str
    rows: int
    outcome: str = ""
    why: str = ""
    version: str | None = None
    champion: str | None = None
    macro_f1: float | None = None  # of the champion on the unseen tickets
    seconds: float = 0.0
    killed_at: str | None = None
    notes: list[str] = field(default_factory=list)


def tickets() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Unseen ones, those of the start, those of the year in order, and those of the late queue."""
    rows = pd.read_csv(ROOT / "tests/samples/tickets.csv", dtype=str, keep_default_na=False)
    is_frequent = rows["queue"].map(rows["queue"].value_counts()) >= 10
    rows = rows[is_frequent & rows["body"].str.len().between(10, 2000)].drop_duplicates("body")
    unseen = rows["customer_id"].map(lambda name: random.Random(name).random() < 0.25)
    late = rows["queue"] == LATE_QUEUE
    rest = rows[~unseen & ~late]
    return rows[unseen], rest[:FIRST], rest[FIRST:], rows[~unseen & late]


def deliver(folder: Path, week: Week, year: list[pd.DataFrame], poison: pd.DataFrame) -> None:
    """Lay the week's file into the folder that the source watches."""
    rows, path = year[week.number - 1], folder / f"week-{week.number:02}.csv"
    if week.kind == "empty":
        return
    if week.kind == "rubbish":
        path.write_bytes(random.Random(8).randbytes(4000))
        return
    if week.kind == "poisoned":
        queues = sorted(poison["queue"].unique())
        turned = {queue: queues[(number + 1) % len(queues)] for number, queue in enumerate(queues)}
        rows = pd.concat([rows, poison.assign(queue=poison["queue"].map(turned))])
    if week.kind == "renamed column":
        rows = rows.rename(columns={"body": "message"})
    if week.kind == "copied ticket":
        rows = pd.concat([rows, pd.concat([rows[:1]] * 900).assign(ticket_id=[f"D-{n:04}" for n in range(900)])])
    if week.kind == "unknown labels":
        rows = pd.concat([rows] * 20).assign(
            ticket_id=[f"U-{n:04}" for n in range(20 * len(rows))], queue=[f"q{n}" for n in range(20 * len(rows))]
        )
    week.rows = len(rows)
    rows.to_csv(path, index=False)


def kind_of(number: int) -> str:
    if number in EMPTY:
        return "empty"
    if number == POISONED:
        return "poisoned"
    return BAD.get(number, "drifting" if number >= LATE_FROM else "usual")


def settle_params(folder: Path, method: str) -> None:
    import yaml

    path = folder / "params.yaml"
    values = yaml.safe_load(path.read_text("utf-8"))
    for key, value in {**SETTINGS, "train.method": method}.items():
        section, _, name = key.partition(".")
        values[section][name] = value
    source = {"kind": "files", "name": "desk", "path": str(folder / "inbox"), "columns": COLUMNS, "reading": READING}
    values["fetch"]["sources"] = [{**source, "licence": "Apache-2.0", "collected": None}]
    path.write_text(yaml.safe_dump(values, sort_keys=False), "utf-8")
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    author = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    subprocess.run(["git", *author, "commit", "-qm", "params of the year"], cwd=folder, check=True)


def retrain(folder: Path, environment: dict[str, str], week: Week) -> None:
    began = time.monotonic()
    done = subprocess.run([*RETUNE, "retrain", "--json"], cwd=folder, env=environment, capture_output=True, text=True)
    week.seconds = round(time.monotonic() - began, 1)
    week.notes += [line.partition("repaired: ")[2] for line in done.stderr.splitlines() if "repaired: " in line]
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        week.outcome = {-9: "killed", 1: "refused"}.get(done.returncode, "failed")
        week.why = next((line for line in reversed(done.stderr.splitlines()) if line.startswith("retune: ")), "")[:300]
        return
    week.outcome, week.version = report["outcome"], report["version"]
    week.why = "; ".join([*report["why"], *(f"{name}: {why}" for name, why in (report["failures"] or {}).items())])


class Judge:
    """Scores champions on the tickets that never come in."""

    def __init__(self, folder: Path, unseen: pd.DataFrame) -> None:
        self.folder, self.unseen, self.queue_of_text = folder, unseen, {}

    def champion(self, environment: dict[str, str]) -> tuple[str | None, float | None]:
        done = subprocess.run(
            [*RETUNE, "models", "--json"], cwd=self.folder, env=environment, capture_output=True, text=True
        )
        champions = [each for each in json.loads(done.stdout or "[]") if "champion" in each["aliases"]]
        if not champions:
            return None, None
        name = f"{champions[0]['name']}/{champions[0]['version']}"
        if name not in self.queue_of_text:
            self.queue_of_text[name] = self.score(name, environment)
        return name, self.queue_of_text[name]

    def score(self, name: str, environment: dict[str, str]) -> float:
        from sklearn.metrics import f1_score

        texts = "\n".join(" ".join(text.split()) for text in self.unseen["body"])
        command = [*RETUNE, "predict", name, "-", "--json"]
        done = subprocess.run(
            command, cwd=self.folder, env=environment, input=texts, capture_output=True, text=True, check=True
        )
        predictions = [each["label"] for each in json.loads(done.stdout)]
        return float(f1_score(self.unseen["queue"], predictions, average="macro"))


def points() -> list[str]:
    """Where to kill: as often at a point that every week with a file passes as at one that only training passes."""
    sys.path.insert(0, str(ROOT))
    from retune.system import failpoints

    manual = ("approve:", "reject:", "checkpoint:", "promote:", "record:pushed", "ingest:stated", "retrain:refused")
    names = [name for name in failpoints.POINTS if not name.startswith(manual)]  # those are hardly passed here
    always = [name for name in names if name.startswith(("ingest:", "retrain:")) and name not in SELDOM]
    return [*names, *always * (len(names) // len(always))]


def simulate(folder: Path, environment: dict[str, str], weeks: int, seed: int) -> list[Week]:
    unseen, first, usual, late = tickets()
    poison, usual = usual[-POISON:], usual[:-POISON]
    count = len([n for n in range(1, 53) if n not in EMPTY])
    shares = iter([usual[at::count] for at in range(count)])
    late_shares = iter([late[at :: 53 - LATE_FROM] for at in range(53 - LATE_FROM)])
    year = []
    for number in range(1, 53):
        rows = usual[:0] if number in EMPTY else next(shares)
        year.append(pd.concat([rows, next(late_shares)]) if number >= LATE_FROM else rows)
    inbox, judge, lot = folder / "inbox", Judge(folder, unseen), random.Random(seed)
    inbox.mkdir()
    first.to_csv(inbox / "start.csv", index=False)
    done = []
    for number in range(weeks + 1):
        week = Week(number, "start" if number == 0 else kind_of(number), len(first) if number == 0 else 0)
        if number:
            deliver(inbox, week, year, poison)
        if number in CRASHES:
            week.killed_at = lot.choice(points())
            retrain(folder, {**environment, "RETUNE_FAIL_AT": week.killed_at}, week)
            week.killed_at += "" if week.outcome == "killed" else " (not passed)"
        if number not in CRASHES or week.outcome == "killed":
            retrain(folder, environment, week)
        if week.kind == "rubbish" or week.kind == "renamed column":
            (inbox / f"week-{number:02}.csv").unlink()  # somebody was told, and has taken it away
        week.champion, week.macro_f1 = judge.champion(environment)
        done.append(week)
        print(line(week), flush=True)
    return done


def line(week: Week) -> str:
    score = f"{week.macro_f1:.3f}" if week.macro_f1 is not None else "-"
    killed = f" [killed at {week.killed_at}]" if week.killed_at else ""
    reason = re.sub(r"\s+", " ", week.why)
    start = f"{week.number:3}  {week.kind:15}{week.rows:5}  {week.outcome:14}{week.version or '':14}"
    return f"{start}{week.champion or '-':14}{score:7}{week.seconds:6.1f} s  {reason}{killed}"


def wrong(weeks: list[Week]) -> list[str]:
    """What should not have been."""
    faults = [] if weeks[-1].champion else ["there never was a champion"]
    for week in weeks:
        if week.kind == "poisoned" and week.outcome not in ("held", "refused"):
            faults.append(f"week {week.number} was poisoned, and came to: {week.outcome}")
        if "not passed" in (week.killed_at or ""):
            faults.append(f"week {week.number}: no process was killed at {week.killed_at}")
    for before, week in pairwise(weeks):
        if week.champion == before.champion:
            continue
        if week.kind in (*BAD.values(), "poisoned", "empty"):
            faults.append(f"week {week.number} was {week.kind}, and {week.champion} was promoted")
        if before.macro_f1 and week.macro_f1 and week.macro_f1 < before.macro_f1 - NOISE:
            faults.append(f"week {week.number}: {week.champion} is worse than {before.champion} on unseen tickets")
    return faults


def draw(weeks: list[Week], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(10, 4.2), layout="constrained")
    at = [week.number for week in weeks]
    axes.step(at, [week.macro_f1 for week in weeks], where="post", color="#1f6feb", linewidth=2, label="champion")
    low = min(week.macro_f1 for week in weeks if week.macro_f1) - 0.03
    marks = {
        "promoted": ("^", "#1a7f37"),
        "held": ("o", "#9a6700"),
        "refused": ("X", "#cf222e"),
        "failed": ("X", "#cf222e"),
        "nothing to do": ("|", "#8c959f"),
    }
    for outcome, (mark, colour) in marks.items():
        matching_weeks = [week for week in weeks if week.outcome == outcome]
        if matching_weeks:
            heights = [week.macro_f1 if outcome == "promoted" else low for week in matching_weeks]
            axes.scatter(
                [w.number for w in matching_weeks], heights, marker=mark, color=colour, s=46, label=outcome, zorder=3
            )
    for week in weeks:
        if week.killed_at and "not passed" not in week.killed_at:
            axes.axvline(week.number, color="#d0d7de", linewidth=1, linestyle=":", zorder=0)
        if week.kind in ("poisoned", *BAD.values()):
            axes.annotate(week.kind, (week.number, low), (0, 8), "data", "offset points", rotation=60, fontsize=8)
    axes.set(xlabel="week (dotted: killed once, run again)", ylabel="macro-F1 on unseen tickets")
    figure.legend(loc="outside upper right", ncols=6, fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weeks", type=int, default=52)
    parser.add_argument("--method", default="probe")
    parser.add_argument("--seed", type=int, default=17, help="of the points at which the process is killed")
    parser.add_argument("--plot", type=Path, help="write the picture here")
    parser.add_argument("--json", type=Path, help="write the table here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        clone(folder)
        settle_params(folder, options.method)
        drop = ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "RETUNE_FAIL_AT")
        plain = {name: value for name, value in os.environ.items() if name not in drop}
        plain |= {"PREFECT_HOME": str(folder / ".retune/prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        plain |= {"PATH": f"{Path(sys.executable).parent}:{plain['PATH']}", "PYTHONPATH": str(folder)}
        (folder / ".retune/prefect").mkdir(parents=True)
        with prefect_server(plain) as served:
            weeks = simulate(folder, served, options.weeks, options.seed)
        leftovers = [path.name for path in (folder / ".retune/runs").glob("[!.]*")]
        shutil.rmtree(folder / ".retune", ignore_errors=True)
    skips = sorted(week.seconds for week in weeks if week.outcome == "nothing to do")
    if skips:
        print(f"\n{len(skips)} times nothing to do: {skips[0]} to {skips[-1]} s, median {skips[len(skips) // 2]} s")
        print(f"{sum(seconds > SKIP for seconds in skips)} of them over {SKIP} s, the goal for an idle machine")
    print(f"folders of failed runs that stay to be looked at: {', '.join(leftovers) or 'none'}")
    if options.json:
        options.json.write_text(json.dumps([asdict(week) for week in weeks], indent=2) + "\n", "utf-8")
    if options.plot:
        draw(weeks, options.plot)
    faults = wrong(weeks)
    print("\n".join(faults) or "no wrong promotion")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
