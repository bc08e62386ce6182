"""How long curation takes and how much memory it needs, by the number of rows, beside Presidio and datasketch alone.

    python bench/curate.py                    # 10,000, 100,000 and 1,000,000 rows
    python bench/curate.py 100000 --no-peers
    pip install presidio-analyzer datasketch  # to see them too

Blows the shipped support tickets up to so many rows: the sentences of several tickets in another order, with orders,
prices and typing errors of their own. Of 100 rows 2 are copies of an earlier one, 2 near-copies, 1 has another label
than the row before, 2 hold an e-mail address, 1 a card number, and 5 stand on the test side. Runs the stages curate and
validate with the parameters as shipped, as processes of their own, and prints seconds, those of a core, which other
work on the machine hardly lengthens, and the peak of memory. The peers redact, or find near-copies, in a few thousand
of the same texts and do nothing else.
"""

import argparse
import itertools
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from retune.config import params
from retune.data import label_verdicts, row_table, suppression, task_data
from tasks.validate import expectations

ROOT = Path(__file__).parent.parent
PART = 250_000  # rows of a part of data/raw
PEER_ROWS = 3_000
SENTENCE = re.compile(r"(?<=[.?!])\s+")
CURATE = ["raw", "suppressed.json", "label_verdicts.json", "curated", "curate.json"]
VALIDATE = ["curated/rows.parquet", "curated/clusters.parquet", "curated/general.parquet", "curate.json"]


def tickets() -> tuple[list[str], list[str]]:
    """Sentences of the sample, and its queues."""
    table = pd.read_csv(ROOT / "tests/samples/tickets.csv", dtype="str", keep_default_na=False)
    table = table[table["body"].str.len().between(20, 2000) & (table["queue"].str.len() > 4)]
    return [each for body in table["body"] for each in SENTENCE.split(body)], sorted(set(table["queue"]))


def text(sentences: Sequence[str], chance: random.Random) -> str:
    """A few sentences, in one of which two letters are in the wrong order."""
    parts = chance.choices(sentences, k=chance.randint(2, 5))
    parts.append(f"It is about order {chance.choice('ABCDEFGH')}{chance.randrange(10**6)}, {chance.randrange(900)}.99")
    words = " ".join(parts).split()
    at = chance.randrange(len(words))
    words[at] = words[at][:1] + words[at][2:3] + words[at][1:2] + words[at][3:]
    return " ".join(words)


def part(first: int, count: int, chance: random.Random) -> pd.DataFrame:
    sentences, queues = tickets()
    texts = [text(sentences, chance) for _ in range(count)]
    labels = chance.choices(queues, k=count)
    for at in range(0, count - 100, 100):
        for copy in (10, 20):
            texts[at + copy], labels[at + copy] = texts[at + copy - 1], labels[at + copy - 1]
        for near in (30, 40):
            texts[at + near] = texts[at + near - 1].replace(" the ", " really the ", 1)
        texts[at + 50] = texts[at + 49]
        texts[at + 60] += f" Write to ann.lee{first + at}@example.org"
        texts[at + 70] += f" or to bob{first + at}@example.com"
        texts[at + 80] += " my card is 4111 1111 1111 1111"
    return pd.DataFrame(
        {
            "id": [f"R-{number:09d}" for number in range(first, first + count)],
            "text": texts,
            "label": labels,
            "group": "",
            "source": "bench",
            "given": chance.choices(["", "test"], weights=[19, 1], k=count),
        }
    ).astype("str")


def stage(name: str, arguments: Sequence[str], folder: Path) -> str:
    """How long it took, and the peak of the memory of its largest process."""
    command = [sys.executable, "-m", f"tasks.{name}", *arguments]
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)})
    _, _, usage = os.wait4(process.pid, 0)
    processor = usage.ru_utime + usage.ru_stime
    return f"{time.monotonic() - start:.1f} s ({processor:.1f} s of a core), peak {usage.ru_maxrss / 1024**2:.2f} GiB"


def measure(count: int) -> None:
    chance = random.Random(17)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        for first in range(0, count, PART):
            row_table.write(part(first, min(PART, count - first), chance), folder / f"raw/{first:09d}.parquet")
        suppression.write(suppression.NOTHING, folder / "suppressed.json")
        label_verdicts.write([], folder / "label_verdicts.json")
        (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
        start = time.monotonic()
        figures = stage("curate", CURATE, folder)
        rate = count / (time.monotonic() - start)
        report = json.loads((folder / "curate.json").read_text("utf-8"))
        assert report["received"] == count
        print(f"curate, {count:,} rows: {figures}, {rate:,.0f} rows/s", flush=True)
        figures = stage("validate", [*VALIDATE, "accepted.json", "validate.json", "docs"], folder)
        print(
            f"validate, {report['kept']:,} rows: {figures}, of which Great Expectations {checks(folder):.1f} s",
            flush=True,
        )


def checks(folder: Path) -> float:
    """Seconds that Great Expectations takes for the checks of all rows."""
    rows, clusters = (row_table.read(folder / f"curated/{name}.parquet") for name in ("rows", "clusters"))
    report, facts = json.loads((folder / "curate.json").read_text("utf-8")), task_data.of("classify", rows.columns)
    frame = expectations.measure(rows, clusters, report, facts)
    suite = expectations.suite(params.load(folder / "params.yaml").validate, facts)
    expectations.great_expectations()  # its import is no work on rows
    start = time.monotonic()
    expectations.run(frame, suite, ["id", "label"])
    return time.monotonic() - start


def presidio() -> Callable[[Sequence[str]], None]:
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NoOpNlpEngine

    language = NoOpNlpEngine([{"lang_code": "en", "model_name": "none"}])
    analyzer = AnalyzerEngine(nlp_engine=language, supported_languages=["en"])

    def run(texts: Sequence[str]) -> None:
        for each in texts:
            analyzer.analyze(each, language="en")

    return run


def datasketch() -> Callable[[Sequence[str]], None]:
    from datasketch import MinHash, MinHashLSH

    def run(texts: Sequence[str]) -> None:
        index = MinHashLSH(num_perm=128, params=(32, 4))
        for place, each in enumerate(texts):
            words = each.lower().split()
            signature = MinHash(num_perm=128)
            signature.update_batch([word.encode() for word in [*words, *map(" ".join, itertools.pairwise(words))]])
            index.query(signature)
            index.insert(place, signature)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    for count in options.rows:
        measure(count)
    texts = [] if options.no_peers else [*part(0, PEER_ROWS, random.Random(17))["text"]]
    for peer in (presidio, datasketch) if texts else ():
        try:
            run = peer()
        except ImportError as error:
            print(f"{peer.__name__} is not installed: {error}")
            continue
        start = time.monotonic()
        run(texts)
        print(f"{peer.__name__} alone, {len(texts):,} rows: {len(texts) / (time.monotonic() - start):,.0f} rows/s")


if __name__ == "__main__":
    main()
