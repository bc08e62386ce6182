"""How long an auditor waits: `retune lineage row ID` over many versions, each with splits of its own.

    python bench/lineage.py [--versions 100] [--rows 100000] [--json FILE]

Works in a scratch repository: splits of random rows in its DVC cache, and a history of as many registered versions,
written as `retune run` writes them. Times the whole command, three times, and prints each. The row asked for is in
a third of the versions.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from retune.data import row_table
from retune.lineage import history

ROOT = Path(__file__).resolve().parent.parent
WANTED = "T-00000042"
SHARES = {"train": 0.75, "val": 0.10, "test": 0.15}


def git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()


def prepare() -> None:
    """A repository that Retune takes for its own."""
    git("init", "-q", "-b", "main")
    git("config", "user.name", "bench")
    git("config", "user.email", "bench@localhost")
    for name in ("dvc.yaml", "params.yaml"):
        Path(name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], check=True)
    git("add", "-A")
    git("commit", "-qm", "bench")


def version(number: int, rows: int) -> dict[str, str]:
    """The splits of one version put into the cache. Returns the md5 of each side."""
    draw = np.random.default_rng(number)
    is_known = number % 3 == 0
    ids = [f"T-{each:08d}" for each in range(100 * number, 100 * number + rows)]
    ids = [each for each in ids if each != WANTED] + [WANTED] * is_known
    words = np.array([f"word{each}" for each in range(500)])
    texts = [" ".join(line) for line in words[draw.integers(0, 500, (len(ids), 12))]]
    table = pd.DataFrame({"id": ids, "text": texts, "label": "billing", "group": "", "source": "bench", "given": ""})
    table = table.sample(frac=1, random_state=number)
    ends = np.cumsum([int(share * len(table)) for share in SHARES.values()])
    md5s = {}
    for side, part in zip(SHARES, np.split(np.arange(len(table)), ends[:2]), strict=True):
        path = Path("made.parquet")
        row_table.write(table.iloc[part].sort_values("id"), path)
        md5s[side] = hashlib.md5(path.read_bytes()).hexdigest()
        cached_path = Path(".dvc/cache/files/md5") / md5s[side][:2] / md5s[side][2:]
        cached_path.parent.mkdir(parents=True, exist_ok=True)
        path.replace(cached_path)
    return md5s


def register(number: int, md5s: dict[str, str]) -> None:
    facts = {"Record": git("rev-parse", "HEAD"), **{side.capitalize(): md5 for side, md5 in md5s.items()}}
    for event in (history.REGISTERED, history.CHAMPION)[: 1 + (number % 5 == 1)]:
        history.append("classifier", number, event, ["bench"], facts, lambda _: None)


def seconds(command: list[str]) -> tuple[float, dict[str, list[dict[str, str]]]]:
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    if done.returncode:
        sys.exit(done.stderr)
    return time.monotonic() - began, json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", type=int, default=100)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    target = options.json.absolute() if options.json else None
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        prepare()
        for number in range(1, options.versions + 1):
            register(number, version(number, options.rows))
            print(f"\rversion {number} of {options.versions}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        command = [sys.executable, "-m", "flows.cli", "lineage", "row", WANTED, "--json"]
        timings = [seconds(command) for _ in range(3)]
        os.chdir(ROOT)
    versions_found = len(timings[0][1]["versions"])
    assert versions_found == options.versions // 3, f"{versions_found} versions found"
    times = [round(each, 2) for each, _ in timings]
    versions = f"{options.versions} versions of {options.rows} rows"
    print(f"lineage row over {versions}: {versions_found} saw it; seconds: {times}")
    if target:
        target.write_text(
            json.dumps({"versions": options.versions, "rows": options.rows, "seconds": times}) + "\n", "utf-8"
        )


if __name__ == "__main__":
    main()
