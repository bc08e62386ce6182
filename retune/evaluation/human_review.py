"""Which of two answers people find better: a blinded sheet, and what its verdicts are worth.

A sheet has a row for each prompt with the answers A and B. Which of them is whose was tossed for each row, and stands
in the key alone, a file that nobody who reviews gets to see. Rows with the same two answers are left out: there is
nothing to choose. A sheet is named by its content, so that verdicts find their key again.

The verdicts of a row are put together by majority; a sign test (Dixon & Mood 1946, exact, two-sided, ties left out)
says how likely such a lead is if neither is better. Cohen's kappa (1960, A Coefficient of Agreement for Nominal
Scales) says how far two reviewers agree beyond chance: 1 wholly, 0 as chance would, below 0 less than that.
"""

import csv
import hashlib
import io
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from retune.errors import Refused, WrongUse
from retune.evaluation.statistics import ALIKE, OURS, THEIRS, sign_test
from retune.lineage.record import Record
from retune.registry import reload_check
from retune.system import dvc_store
from retune.system.stage_io import write_json

TEMPLATE = Path(__file__).with_name("human_review.html")
COLUMNS = ("sheet", "id", "prompt", "A", "B", "verdict", "reviewer", "note")
ANSWERS = ("sheet", "id", "verdict", "reviewer", "note")  # what comes back; a page sends no more than these
TIES = ("tie", "alike", "=")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet would run


@dataclass(frozen=True)
class Key:
    """Which side is which."""

    sheet: str
    ours: str  # names of the two that were compared
    theirs: str
    seed: int
    ours_is: dict[str, str]  # id of a row -> A or B
    alike: int  # rows with two equal answers, left out


@dataclass(frozen=True)
class Answer:
    id: str
    reviewer: str
    said: str  # ours | theirs | alike


@dataclass(frozen=True)
class Agreement:
    """How far two reviewers agree on the rows that both have answered."""

    reviewers: tuple[str, str]
    rows: int
    agreed: float
    kappa: float | None  # none where both said one and the same thing of all rows: chance would do so, too


@dataclass(frozen=True)
class Result:
    sheet: str
    ours: str
    theirs: str
    rows: int  # of the sheet
    answered: int  # rows with one verdict or more
    wins: int
    losses: int
    ties: int
    p: float
    verdict: str  # better | worse | undecided
    confidence: float  # that was asked for
    agreement: tuple[Agreement, ...]

    def __str__(self) -> str:
        return (
            f"{self.ours} is {self.verdict} than {self.theirs}"
            if self.verdict != "undecided"
            else f"nobody can say whether {self.ours} is better than {self.theirs}"
        ) + f": {self.wins} won, {self.losses} lost, {self.ties} tied of {self.rows} rows (sign test, p = {self.p:.2g})"


# ---------------------------------------------------------------- what two models said


def pairs(made: Record, other: Record | None) -> pd.DataFrame:
    """id, prompt, ours, theirs: what a version said of its test rows, beside what another one said, or its own base.

    Raises Refused if the DVC store has lost or changed any of it, or the two have no row in common.
    """
    ours = _said_by(made, "predicted")
    theirs = _said_by(other, "predicted") if other else _said_by(made, "base_predicted")
    texts = (
        dvc_store.read_verified(made["data"]["sides"]["test"]["md5"], ["id", "text"])
        .set_index("id")["text"]
        .map(in_words)
    )
    common = [row for row in ours.index if row in theirs.index and row in texts.index]
    if not common:
        raise Refused("the two were not scored on one common row, so there is nothing to compare side by side")
    table = pd.DataFrame({"prompt": texts.loc[common], "ours": ours.loc[common], "theirs": theirs.loc[common]})
    return table.rename_axis("id").reset_index()


def _said_by(made: Record, column: str) -> pd.Series:
    """By id of the row; rows for which nothing was written are left out."""
    try:
        table = dvc_store.read_verified(made["pipeline"]["hashes"][reload_check.PREDICTIONS], ["id", column])
    except (KeyError, pa.ArrowException) as error:
        raise Refused(f"{made['name']} has no record of what it said ({column}): {error}") from None
    return table.set_index("id")[column].dropna().astype("str")


def in_words(text: str) -> str:
    """The messages of a prompt as people read them; any other text as it is."""
    try:
        return "\n\n".join(f"{message['role']}: {message['content']}" for message in json.loads(text))
    except (ValueError, TypeError, KeyError):
        return text


# ---------------------------------------------------------------- out


def shuffled(pairs: pd.DataFrame, ours: str, theirs: str, rows: int, seed: int) -> tuple[pd.DataFrame, Key]:
    """The sheet of at most `rows` rows, drawn from `pairs`, and its key.

    pairs: id, prompt, ours, theirs, all strings. Whoever knows the seed knows the sides.
    """
    if twice := pairs.loc[pairs["id"].duplicated(), "id"].tolist():
        raise Refused(f"the row {twice[0]} is there twice: each row has one pair of answers")
    differ = pairs[pairs["ours"].str.strip() != pairs["theirs"].str.strip()].sort_values("id")
    if differ.empty:
        raise Refused(f"{ours} and {theirs} say the same of all {len(pairs)} rows: there is nothing to review")
    rng = random.Random(seed)
    chosen = differ.iloc[rng.sample(range(len(differ)), min(rows, len(differ)))]
    ours_is = {row: rng.choice("AB") for row in chosen["id"]}
    as_a = chosen["id"].map(ours_is) == "A"
    sheet = chosen[["id", "prompt"]].assign(
        A=chosen["ours"].where(as_a, chosen["theirs"]), B=chosen["theirs"].where(as_a, chosen["ours"])
    )
    name = hashlib.sha256(json.dumps(sheet.to_dict("split")["data"]).encode()).hexdigest()[:12]
    return sheet.reset_index(drop=True), Key(name, ours, theirs, seed, ours_is, len(pairs) - len(differ))


def as_csv(sheet: pd.DataFrame, key: Key) -> bytes:
    """For a spreadsheet: with a byte order mark, and no cell that it would take for a formula."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in sheet.to_dict("records"):
        texts = (_harmless(str(row[name])) for name in ("id", "prompt", "A", "B"))
        writer.writerow((key.sheet, *texts, "", "", ""))
    return table.getvalue().encode("utf-8-sig")


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text


def as_page(sheet: pd.DataFrame, key: Key) -> str:
    """One file of HTML that asks no network, keeps the verdicts in the browser, and hands them out as a file."""
    from jinja2 import Environment, StrictUndefined

    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(TEMPLATE.read_text("utf-8"))
    return page.render(sheet=key.sheet, rows=sheet.to_dict("records"))


def write_key(key: Key, folder: Path) -> Path:
    write_json(asdict(key), path := folder / f"{key.sheet}.json")
    return path


# ---------------------------------------------------------------- back


def read_key(sheet: str, folder: Path) -> Key:
    """Raises WrongUse if there is none: then nobody can say whose answers were preferred."""
    try:
        return Key(**json.loads((folder / f"{sheet}.json").read_text("utf-8")))
    except FileNotFoundError:
        raise WrongUse(f"there is no key of the sheet {sheet!r} in {folder}: import where it was exported") from None
    except (OSError, ValueError, TypeError) as error:
        raise Refused(f"the key of the sheet {sheet!r} in {folder} is damaged: {error}") from None


def sheet_of(files: Sequence[Path]) -> str:
    """The one sheet that these files answer."""
    named = {row["sheet"] for path in files for _, row in _lines(path)}
    if len(named) != 1 or not (name := named.pop()).isalnum():
        raise WrongUse(f"the verdicts must be of one sheet, and name it in the column sheet; here: {sorted(named)}")
    return name


def answers(files: Sequence[Path], key: Key) -> list[Answer]:
    """The verdicts in the files, with the sides taken off. Empty ones are left out.

    A line without a reviewer is of one named like the file. Raises Refused naming the line that cannot be.
    """
    found: dict[tuple[str, str], Answer] = {}
    for path in files:
        for place, row in _lines(path):
            verdict, reviewer = row["verdict"].strip(), row["reviewer"].strip() or path.stem
            if not verdict:
                continue
            name = row["id"].removeprefix("'") if row["id"] not in key.ours_is else row["id"]
            if name not in key.ours_is:
                raise Refused(f"{place}: the sheet {key.sheet} has no row {row['id']!r}")
            answer = Answer(name, reviewer, _said(verdict, key.ours_is[name], place))
            if found.setdefault((name, reviewer), answer) != answer:
                raise Refused(f"{place}: {reviewer} said two things of row {name}: keep one")
    return list(found.values())


def _said(verdict: str, ours_is: str, place: str) -> str:
    if verdict.casefold() in TIES:
        return ALIKE
    if verdict.upper() not in ("A", "B"):
        raise Refused(f"{place}: the verdict is {verdict!r}: write A, B or tie, or nothing")
    return OURS if verdict.upper() == ours_is else THEIRS


def _lines(path: Path) -> list[tuple[str, dict[str, str]]]:
    """Where each line is, and what it says. Some spreadsheets save semicolons for commas."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUse(f"{path} cannot be read: {error}; save it as CSV in UTF-8") from None
    head = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), restval="")
    if missing := {"sheet", "id", "verdict"} - set(reader.fieldnames or ()):
        raise WrongUse(
            f"{path} lacks the column {', '.join(sorted(missing))}: it is no sheet of `retune review export`"
        )
    return [
        (
            f"{path}, line {reader.line_num}",
            {"reviewer": "", **{name: value or "" for name, value in row.items() if name}},
        )
        for row in reader
    ]


# ---------------------------------------------------------------- what it is worth


def result(said: Sequence[Answer], key: Key, confidence: float) -> Result:
    if not said:
        raise Refused(f"there is no verdict of the sheet {key.sheet} in these files")
    of_rows = Counter(_majority([answer.said for answer in said if answer.id == row]) for row in key.ours_is)
    wins, losses = of_rows[OURS], of_rows[THEIRS]
    p = sign_test(wins, losses)
    lead = "better" if wins > losses else "worse"
    return Result(
        sheet=key.sheet,
        ours=key.ours,
        theirs=key.theirs,
        rows=len(key.ours_is),
        answered=len(key.ours_is) - of_rows[None],
        wins=wins,
        losses=losses,
        ties=of_rows[ALIKE],
        p=p,
        verdict=lead if p <= 1 - confidence else "undecided",
        confidence=confidence,
        agreement=agreement(said),
    )


def _majority(said: list[str]) -> str | None:
    """What most say of a row; alike if as many say one thing as another; None if nobody said anything."""
    if not said:
        return None
    (first, times), *rest = Counter(said).most_common()
    return ALIKE if rest and rest[0][1] == times else first


def agreement(said: Sequence[Answer]) -> tuple[Agreement, ...]:
    """Of each two reviewers that have a row in common."""
    by_reviewer: dict[str, dict[str, str]] = {}
    for answer in said:
        by_reviewer.setdefault(answer.reviewer, {})[answer.id] = answer.said
    found = []
    for one, other in combinations(sorted(by_reviewer), 2):
        if common := sorted(by_reviewer[one].keys() & by_reviewer[other].keys()):
            ours, theirs = ([by_reviewer[who][row] for row in common] for who in (one, other))
            agreed = sum(a == b for a, b in zip(ours, theirs, strict=True)) / len(common)
            found.append(Agreement((one, other), len(common), agreed, kappa(ours, theirs)))
    return tuple(found)


def kappa(ours: Sequence[str], theirs: Sequence[str]) -> float | None:
    """Cohen's kappa of two verdicts a row: (agreed - by chance) / (1 - by chance)."""
    rows, one, other = len(ours), Counter(ours), Counter(theirs)
    agreed = sum(a == b for a, b in zip(ours, theirs, strict=True)) / rows
    by_chance = sum(one[said] * other[said] for said in one) / rows**2
    return None if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)


def as_record(of: Result, said: Sequence[Answer], key: Key) -> dict[str, Any]:
    """What is kept: verdicts and sides, but no word of a prompt, an answer or a note, which are people's own."""
    return {**asdict(of), "key": asdict(key), "answers": [asdict(answer) for answer in said]}
