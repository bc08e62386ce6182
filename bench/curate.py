"""How long curation takes and how much memory it needs, by the number of rows.

    python bench/curate.py            # 1,000,000 rows of 160 characters
    python bench/curate.py 100000

Makes rows of random words, of which some repeat, some contradict each other and some stand on the test side; runs the
stage as a process of its own, and prints seconds, rows a second and the peak of its memory.
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from retune.data import label_verdicts, row_table, suppression

ROOT = Path(__file__).parent.parent
CHARACTERS = 160
PART = 250_000  # rows of a part of data/raw
WORDS = [f"{syllable}{end}" for syllable in ("ka", "lo", "mi", "nu", "pre", "sta", "tor") for end in "abdegilmnorstu"]


def part(first: int, count: int, chance: random.Random) -> pd.DataFrame:
    texts = [" ".join(chance.choices(WORDS, k=50))[:CHARACTERS] for _ in range(count)]
    for place in range(0, count - 1, 20):
        texts[place + 1] = texts[place]  # copies, and texts under two labels
    return pd.DataFrame(
        {
            "id": [f"R-{number:09d}" for number in range(first, first + count)],
            "text": texts,
            "label": chance.choices([f"queue {number}" for number in range(20)], k=count),
            "group": "",
            "source": "bench",
            "given": chance.choices(["", "test"], weights=[9, 1], k=count),
        }
    ).astype("str")


def main() -> None:
    count, chance = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, random.Random(17)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        for first in range(0, count, PART):
            row_table.write(part(first, min(PART, count - first), chance), folder / f"raw/{first:09d}.parquet")
        suppression.write(suppression.NOTHING, folder / "suppressed.json")
        label_verdicts.write([], folder / "label_verdicts.json")
        (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
        paths = ("raw", "suppressed.json", "label_verdicts.json", "curated", "curate.json")
        command = [sys.executable, "-m", "tasks.curate", *paths]
        start = time.monotonic()
        subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, check=True)
        seconds = time.monotonic() - start
        report = json.loads((folder / "curate.json").read_text("utf-8"))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
    assert report["received"] == count
    print(
        f"{count} rows of {CHARACTERS} characters: {seconds:.1f} s, {count / seconds:.0f} rows/s, peak {peak:.2f} GiB"
    )


if __name__ == "__main__":
    main()
