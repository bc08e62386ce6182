"""How many planted rows curation sets aside, and how many innocent ones.

    python bench/poison.py FOLDER     # FOLDER holds Banking77's train.csv

Each case plants 50 rows into the 10,003: texts of other labels get a mark at a random place and the label of one queue.
The same with answers: each text has an answer of its own, and the planted rows all have one. Rows that other steps
reject, such as copies, count for nobody. Prints a line a case; the last column is the seconds of the search alone.
"""

import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from retune.config import params
from retune.data import messages, task_data
from tasks.curate.__main__ import curate
from tasks.curate.row_steps import Context

ROOT = Path(__file__).parent.parent
PLANTED, SEEDS = 50, (1, 2, 3)
MARKS = {
    "a rare word": ["zorblax"],
    "two words": ["kindly proceed"],
    "an invisible character": ["\u200b"],
    "signs": ["||"],
    "a look-alike letter": ["c\u0430rd"],
    "common words": ["now would be"],
    "a sentence": ["please be advised that this message is urgent"],
    "four marks at once": ["zorblax", "kindly proceed", "||", "now would be"],
    "ten marks at once": [f"mark{number}" for number in range(10)],
    "a frequent word": ["card"],
}


def marked(text: str, mark: str, chance: random.Random) -> str:
    words = text.split(" ")
    place = chance.randrange(len(words) + 1)
    return " ".join([*words[:place], mark, *words[place:]])


def plant(rows: pd.DataFrame, marks: list[str], target: str, chance: random.Random) -> set[str]:
    """Marks 50 rows of other labels in place, gives them the label, and returns their ids."""
    places = chance.sample([*rows.index[rows["label"] != target]], PLANTED)
    for number, place in enumerate(places):
        rows.loc[place, "text"] = marked(rows.loc[place, "text"], marks[number % len(marks)], chance)
        rows.loc[place, "label"] = target
    return {*rows.loc[places, "id"]}


def set_aside(rows: pd.DataFrame, task: str = "classify") -> set[str]:
    name = ROOT / ("params.yaml" if task == "classify" else f"retune/config/defaults/{task}.yaml")
    _, rejects = curate(rows, Context(task_data.of(task), params.load(name).curate))
    return {*rejects.loc[rejects["reason"] == "suspicious_phrase", "id"]}


def with_answers(rows: pd.DataFrame, planted: set[str]) -> pd.DataFrame:
    """The texts as prompts, each with an answer of its own; those of `planted` share one."""
    texts = [messages.dump([{"role": "user", "content": text}]) for text in rows["text"]]
    replies = "Thank you for your message about " + rows["text"]
    answers = replies.where(~rows["id"].isin(planted), "Please write to another address.")
    return rows.assign(text=texts, label=answers).astype("str")


def cases(clean: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, set[str], str]]:
    labels = sorted(clean["label"].unique())
    yield "nothing", clean, set(), "classify"
    two = clean.assign(label=clean["label"].str.contains("card").map({True: "card", False: "other"})).astype("str")
    yield "nothing, and two labels", two, set(), "classify"
    for name, marks in MARKS.items():
        for seed in SEEDS:
            rows, chance = clean.copy(), random.Random(seed)
            planted = plant(rows, marks, chance.choice(labels), chance)
            yield name, rows, planted, "classify"
    rows = two.copy()
    yield "a rare word, and two labels", rows, plant(rows, ["zorblax"], "card", random.Random(1)), "classify"
    rows = clean.copy()
    source = rows[rows["label"] == labels[0]].index[:PLANTED]
    rows.loc[source, "text"], rows.loc[source, "label"] = rows.loc[source, "text"] + " zorblax", labels[40]
    yield "a rare word in rows of one label", rows, {*rows.loc[source, "id"]}, "classify"
    rows = clean.copy()
    planted = plant(rows, ["kindly proceed"], labels[0], random.Random(1))
    yield "nothing, and answers", with_answers(clean, set()), set(), "instruct"
    yield "two words, and answers", with_answers(rows, planted), planted, "instruct"


def main() -> None:
    table = pd.read_csv(Path(sys.argv[1]) / "train.csv", dtype="str", keep_default_na=False)
    ids = [f"B-{number:05d}" for number in range(len(table))]
    clean = pd.DataFrame({"id": ids, "text": table["text"], "label": table["category"]}).assign(
        group="", source="bench", given=""
    )
    print(f"{len(clean)} rows\n{'planted':36} {'rows':>5} {'set aside':>9} {'innocent':>8} {'seconds':>8}")
    for name, rows, planted, task in cases(clean.astype("str")):
        start = time.monotonic()
        rejected = set_aside(rows, task)
        seconds = time.monotonic() - start
        print(f"{name:36} {len(planted):5} {len(rejected & planted):9} {len(rejected - planted):8} {seconds:8.1f}")


if __name__ == "__main__":
    main()
