"""A blinded sheet of two answers to each prompt, on which people mark the better one.

A sheet has a row for each prompt with the answers A and B. Each row has a random order, which only the key holds, a
file that reviewers do not get. Rows with two equal answers are left out. The name of a sheet is a hash of its content,
so that its verdicts (`human_verdicts`) find their key.
"""

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from retune.data import messages
from retune.errors import Refused, WrongUse
from retune.evaluation import review_files
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


def pairs(version_record: Mapping[str, Any], other_record: Mapping[str, Any] | None) -> pd.DataFrame:
    """id, prompt, ours, theirs: the answers of a version to its test rows, and those of another version or of its base.

    Raises Refused if the DVC store lacks any of it or has other bytes, or if the two share no row.
    """
    ours = _answers(version_record, "predicted")
    other_answers = _answers(other_record, "predicted") if other_record else _answers(version_record, "base_predicted")
    test = dvc_store.read_verified(version_record["data"]["sides"]["test"]["md5"], ["id", "text"])
    prompts = test.set_index("id")["text"].map(readable_prompt)
    ids = [row for row in ours.index if row in other_answers.index and row in prompts.index]
    if not ids:
        raise Refused("The two versions share no test row. Compare versions that were scored on the same rows")
    table = pd.DataFrame({"prompt": prompts.loc[ids], "ours": ours.loc[ids], "theirs": other_answers.loc[ids]})
    return table.rename_axis("id").reset_index()


def _answers(version_record: Mapping[str, Any], column: str) -> "pd.Series[str]":
    """By id of the row; rows without an answer are left out."""
    try:
        md5 = version_record["pipeline"]["hashes"][reload_check.PREDICTIONS]
        table: pd.DataFrame = dvc_store.read_verified(md5, ["id", column])
    except (KeyError, pa.ArrowException) as error:
        raise Refused(f"{version_record['name']} has no record of its answers ({column}): {error}") from None
    return table.set_index("id")[column].dropna().astype("str")


def readable_prompt(text: str) -> str:
    """The messages of a prompt as people read them; any other text unchanged."""
    try:
        return "\n\n".join(f"{message['role']}: {messages.words([message])}" for message in json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError):
        return text


def draw_sheet(pairs: pd.DataFrame, ours: str, other: str, rows: int, seed: int) -> tuple[pd.DataFrame, Key]:
    """The sheet of at most `rows` rows, drawn from `pairs`, and its key. The seed reproduces the draw.

    pairs: id, prompt, ours, theirs, all strings; ours, other: the names of the two models.
    """
    if duplicates := pairs.loc[pairs["id"].duplicated(), "id"].tolist():
        raise Refused(f"The row {duplicates[0]} has more than one pair of answers. Keep one")
    different = pairs[pairs["ours"].str.strip() != pairs["theirs"].str.strip()].sort_values("id")
    if different.empty:
        raise Refused(f"{ours} and {other} give the same answer to all {len(pairs)} rows: there is nothing to review")
    rng = random.Random(seed)
    sample = different.iloc[rng.sample(range(len(different)), min(rows, len(different)))]
    ours_is = {row: rng.choice("AB") for row in sample["id"]}
    ours_is_a = sample["id"].map(ours_is) == "A"
    sheet = sample[["id", "prompt"]].assign(
        A=sample["ours"].where(ours_is_a, sample["theirs"]), B=sample["theirs"].where(ours_is_a, sample["ours"])
    )
    name = hashlib.sha256(json.dumps(sheet.to_dict("split")["data"]).encode()).hexdigest()[:12]
    return sheet.reset_index(drop=True), Key(name, ours, other, seed, ours_is, len(pairs) - len(different))


def as_csv(sheet: pd.DataFrame, key: Key) -> bytes:
    rows = ((key.sheet, *(str(row[name]) for name in ("id", "prompt", "A", "B"))) for row in sheet.to_dict("records"))
    return review_files.as_csv(COLUMNS, ((*row, "", "", "") for row in rows))


def as_page(sheet: pd.DataFrame, key: Key) -> str:
    """One HTML file that needs no network, keeps the verdicts in the browser, and saves them as a file."""
    return render(TEMPLATE, sheet=key.sheet, rows=sheet.to_dict("records"))


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
