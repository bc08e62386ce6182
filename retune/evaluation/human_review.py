"""A blinded sheet of two answers to each prompt, or of two labels of each text, on which people mark the better one.

A sheet has a row for each prompt with the answers A and B. Each row has a random order, which only the key holds, a
file that reviewers do not get. Rows with two equal answers are left out. The name of a sheet is a hash of its content,
so that its verdicts (`human_verdicts`) find their key.

Of labels a person can say whether each is right, so rows on which both agree are on the sheet too, and rows are drawn
where they tell most, each by a known chance (`review_sample`): that gives the accuracy of both models on all rows.
"""

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from retune.data import messages, row_table, task_data
from retune.errors import Refused, WrongUse
from retune.evaluation import review_files, review_sample, task_metrics
from retune.pages.page import render
from retune.registry import reload_check
from retune.system import dvc_store
from retune.system.stage_io import write_json

TEMPLATE = Path(__file__).with_suffix(".html")
COLUMNS = ("sheet", "id", "prompt", "A", "B", "verdict", "reviewer", "note")


@dataclass(frozen=True)
class Key:
    """Which side is which model, in the format of its file."""

    sheet: str
    ours: str  # names of the two models
    theirs: str
    seed: int
    ours_is: dict[str, str]  # id of a row -> A or B
    alike: int  # rows with two equal answers, left out
    chances: dict[str, float] = field(default_factory=dict)  # of labels: id of a row -> its chance to be drawn
    agreed: list[str] = field(default_factory=list)  # of labels: ids of rows on which both models agree

    @property
    def is_of_labels(self) -> bool:
        return bool(self.chances)


def pairs(
    version_record: Mapping[str, Any], other_record: Mapping[str, Any] | None, champion_said: Path | None = None
) -> pd.DataFrame:
    """id, prompt, ours, theirs: the answers of a version to its test rows, and those of another version or of its base.

    Of labels also `confidence`, the lower one of the two, and `is_new`, whether the other was not tested on the row.
    champion_said: the file in which the version keeps what the other, its champion, answered to the same rows.
    Raises Refused if the DVC store lacks any of it or has other bytes, or if the two share no row.
    """
    prefix = "" if other_record else "base_"
    ours = _answers(version_record, "predicted")
    recorded = _answers(other_record or version_record, f"{prefix}predicted")
    has_labels = task_data.of(task_metrics.task_of(version_record["params"])).has_labels
    champion_table = row_table.read(champion_said).set_index("id") if champion_said and has_labels else None
    other_answers = recorded if champion_table is None else champion_table["predicted"]
    test = dvc_store.read_verified(version_record["data"]["sides"]["test"]["md5"], ["id", "text"])
    prompts = test.set_index("id")["text"].map(readable_prompt)
    ids = [row for row in ours.index if row in other_answers.index and row in prompts.index]
    if not ids:
        raise Refused("The two versions share no test row. Compare versions that were scored on the same rows")
    table = pd.DataFrame({"prompt": prompts.loc[ids], "ours": ours.loc[ids], "theirs": other_answers.loc[ids]})
    if has_labels:
        their_confidence = (
            _column(other_record or version_record, f"{prefix}confidence")
            if champion_table is None
            else champion_table["confidence"]
        )
        ours_sure = _column(version_record, "confidence").loc[ids]
        table = table.assign(
            confidence=np.minimum(ours_sure, their_confidence.loc[ids]), is_new=~table.index.isin(recorded.index)
        )
    return table.rename_axis("id").reset_index()


def _answers(version_record: Mapping[str, Any], column: str) -> "pd.Series[str]":
    """By id of the row; rows without an answer are left out."""
    return _column(version_record, column).dropna().astype("str")


def _column(version_record: Mapping[str, Any], column: str) -> "pd.Series[Any]":
    """Of the recorded predictions, by id of the row."""
    try:
        md5 = version_record["pipeline"]["hashes"][reload_check.PREDICTIONS]
        table: pd.DataFrame = dvc_store.read_verified(md5, ["id", column])
    except (KeyError, pa.ArrowException) as error:
        raise Refused(f"{version_record['name']} has no record of its answers ({column}): {error}") from None
    return table.set_index("id")[column]


def readable_prompt(text: str) -> str:
    """The messages of a prompt as people read them; any other text unchanged."""
    try:
        return "\n\n".join(f"{message['role']}: {messages.words([message])}" for message in json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError):
        return text


def draw_sheet(pairs: pd.DataFrame, ours: str, other: str, rows: int, seed: int) -> tuple[pd.DataFrame, Key]:
    """The sheet of at most `rows` rows, drawn from `pairs`, and its key. The seed reproduces the draw.

    pairs: of the function of that name; ours, other: the names of the two models.
    """
    if duplicates := pairs.loc[pairs["id"].duplicated(), "id"].tolist():
        raise Refused(f"The row {duplicates[0]} has more than one pair of answers. Keep one")
    differs = pairs["ours"].str.strip() != pairs["theirs"].str.strip()
    different = pairs[differs].sort_values("id")
    if different.empty:
        raise Refused(f"{ours} and {other} give the same answer to all {len(pairs)} rows: there is nothing to review")
    rng = random.Random(seed)
    chances: dict[str, float] = {}
    if "confidence" in pairs:
        sample, chances = _drawn_where_it_tells(pairs.assign(differs=differs).sort_values("id"), rows, seed)
    else:
        sample = different.iloc[rng.sample(range(len(different)), min(rows, len(different)))]
    same_ids = sample.loc[~differs[sample.index], "id"].tolist() if chances else []
    ours_is = {row: rng.choice("AB") for row in sample["id"]}
    ours_is_a = sample["id"].map(ours_is) == "A"
    sheet = sample[["id", "prompt"]].assign(
        A=sample["ours"].where(ours_is_a, sample["theirs"]), B=sample["theirs"].where(ours_is_a, sample["ours"])
    )
    name = hashlib.sha256(json.dumps(sheet.to_dict("split")["data"]).encode()).hexdigest()[:12]
    return sheet.reset_index(drop=True), Key(
        name, ours, other, seed, ours_is, 0 if chances else len(pairs) - len(different), chances, same_ids
    )


def _drawn_where_it_tells(pairs: pd.DataFrame, rows: int, seed: int) -> tuple[pd.DataFrame, dict[str, float]]:
    columns = (pairs[name].to_numpy() for name in ("differs", "confidence", "is_new"))
    chances = review_sample.chances(review_sample.weights(*columns), rows)
    places = review_sample.draw(chances, seed)
    sample = pairs.iloc[places]
    return sample, dict(zip(sample["id"], chances[places].tolist(), strict=True))


def as_csv(sheet: pd.DataFrame, key: Key) -> bytes:
    rows = ((key.sheet, *(str(row[name]) for name in ("id", "prompt", "A", "B"))) for row in sheet.to_dict("records"))
    return review_files.as_csv(COLUMNS, ((*row, "", "", "") for row in rows))


def as_page(sheet: pd.DataFrame, key: Key) -> str:
    """One HTML file that needs no network, keeps the verdicts in the browser, and saves them as a file."""
    return render(TEMPLATE, sheet=key.sheet, rows=sheet.to_dict("records"), of_labels=key.is_of_labels)


def write_key(key: Key, folder: Path) -> Path:
    write_json(asdict(key), path := folder / f"{key.sheet}.json")
    return path


def read_key(sheet: str, folder: Path) -> Key:
    """Raises WrongUse if the key is missing: without it the verdicts have no meaning."""
    try:
        return Key(**json.loads((folder / f"{sheet}.json").read_text("utf-8")))
    except FileNotFoundError:
        raise WrongUse(
            f"There is no key of the sheet {sheet!r} in {folder}. Import the verdicts where the sheet was exported"
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise Refused(f"The key of the sheet {sheet!r} in {folder} is damaged: {error}") from None
