"""How many planted wrong answers `retune data answers` ranks first.

    python bench/answers.py                            # the shipped replies
    python bench/answers.py FILE --text instruction --answer response --topic intent --area category

In 5 % of the rows the answer becomes that of a row of another topic; with --area of another topic of the same area,
too. Precision at k, k the number of planted ones, and how many of them are doubtful (a score from 4 on).
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from retune.evaluation import answer_fit
from retune.models import text_vectors
from tasks.data_quality import answers

ROOT = Path(__file__).parent.parent
ROWS, SHARE, SEED = 1_500, 0.05, 17


def embed(texts: list[str]) -> answer_fit.Array:
    return text_vectors.embed(texts, "cpu").numpy()


def planted(table: pd.DataFrame, topic: str, area: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Rows that get a wrong answer, and the rows that it comes from."""
    draw = np.random.default_rng(SEED)
    rows = draw.permutation(len(table))[: int(SHARE * len(table))]
    topics, areas = table[topic].to_numpy(), table[area].to_numpy() if area else None
    sources = []
    for row in rows:
        others = topics != topics[row]
        near = others & (areas == areas[row]) if areas is not None else others
        sources.append(draw.choice(np.flatnonzero(near if near.any() else others)))
    return rows, np.array(sources)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, default=ROOT / "tests/samples/replies.csv")
    parser.add_argument("--text", default="prompt")
    parser.add_argument("--answer", default="completion")
    parser.add_argument("--topic", default="intent")
    parser.add_argument("--area")
    options = parser.parse_args()
    table = pd.read_csv(options.file, dtype="str", keep_default_na=False)
    table = table[(table[options.text] != "") & (table[options.answer] != "")].drop_duplicates(options.text)
    table = table.sample(min(ROWS, len(table)), random_state=SEED).reset_index(drop=True)
    prompts, replies = embed(table[options.text].tolist()), embed(table[options.answer].tolist())
    unchanged = answer_fit.doubts(prompts, replies)
    print(f"{len(table):,} rows as they are: {(unchanged >= answers.FAR).sum()} doubtful")
    for area in dict.fromkeys((None, options.area)):
        rows, sources = planted(table, options.topic, area)
        changed = replies.copy()
        changed[rows] = replies[sources]
        doubts = answer_fit.doubts(prompts, changed)
        first = np.argsort(-doubts)[: len(rows)]
        precision, doubtful = np.isin(first, rows).mean(), (doubts[rows] >= answers.FAR).sum()
        of = f"another topic of the same {area}" if area else "another topic"
        print(f"{len(rows)} answers of {of}: precision at {len(rows)} {precision:.3f}, {doubtful} of them doubtful")


if __name__ == "__main__":
    main()
