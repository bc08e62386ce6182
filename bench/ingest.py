"""How long it takes to ingest a CSV file and how much memory it needs, by the number of rows.

    python bench/ingest.py            # 1,000,000 rows of 160 characters, as a European Excel writes them
    python bench/ingest.py 100000

Runs `retune ingest` up to `dvc add` in a process of its own; prints seconds, rows a second and the peak of its memory.
"""

import csv
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from curate import CHARACTERS, ROOT, WORDS

INGEST = """
from pathlib import Path
from retune.config import params
from retune.data.row_mapping import Columns
from tasks.ingest import Origin, Rules, ingest
columns, rules = Columns("body", "queue", "id"), Rules.of(params.load(Path("params.yaml")))
print(ingest("tickets.csv", Path("data/raw"), columns, rules, Origin("tickets", None, None), lambda: None).total)
"""


def write_file(path: Path, count: int) -> None:
    chance = random.Random(17)
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, delimiter=";", lineterminator="\r\n")
        rows.writerow(["id", "queue", "body"])
        for number in range(count):
            text = " ".join(chance.choices(WORDS, k=50))[:CHARACTERS]
            rows.writerow([f"R-{number:09d}", f"queue {number % 20}", text])


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        write_file(folder / "tickets.csv", count)
        (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
        start = time.monotonic()
        command = [sys.executable, "-c", INGEST]
        done = subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, check=True, stdout=subprocess.PIPE)
        seconds = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
    assert int(done.stdout.split()[-1]) == count
    print(
        f"{count} rows of {CHARACTERS} characters: {seconds:.1f} s, {count / seconds:.0f} rows/s, peak {peak:.2f} GiB"
    )


if __name__ == "__main__":
    main()
