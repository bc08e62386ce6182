"""The verdicts of people on a blinded sheet (`human_review`), and their result.

The verdicts of a row are combined by majority; a sign test (Dixon & Mood 1946, exact, two-sided, ties left out) gives
the probability of such a lead if neither model is better. Cohen's kappa (1960, A Coefficient of Agreement for Nominal
Scales) measures the agreement of two reviewers beyond chance: 1 complete, 0 as by chance, below 0 less than by chance.

Of labels the verdicts also give the accuracy of each model on all rows that it was compared on (`review_sample`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from retune.errors import Refused, WrongUse
from retune.evaluation import review_files, review_sample
from retune.evaluation.human_review import Key
from retune.evaluation.review_sample import ReviewedAccuracy
from retune.evaluation.statistics import ALIKE, BOTH, NEITHER, OURS, THEIRS, sign_test

TIES = ("tie", "alike", "=")


@dataclass(frozen=True)
class Verdict:
    id: str
    reviewer: str
    value: str  # OURS, THEIRS or ALIKE; of labels OURS, THEIRS, BOTH or NEITHER is right


@dataclass(frozen=True)
class Agreement:
    """The agreement of two reviewers on the rows that both have a verdict on."""

    reviewers: tuple[str, str]
    rows: int
    agreed: float
    kappa: float | None  # None if both gave the same verdict on all rows, as chance would


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
    confidence: float  # that `better` and `worse` need
    agreement: tuple[Agreement, ...]
    accuracy: dict[str, ReviewedAccuracy] = field(default_factory=dict)  # of labels: name of a model -> its accuracy

    def __str__(self) -> str:
        counts = f"{self.wins} won, {self.losses} lost, {self.ties} tied of {self.rows} rows"
        verdict = f"{self.ours} is {self.verdict} than {self.theirs}"
        if self.verdict == "undecided":
            verdict = f"The verdicts do not show whether {self.ours} is better than {self.theirs}"
        sentence = f"{verdict}: {counts} (sign test, p = {self.p:.2g})"
        for name, accuracy in self.accuracy.items():
            interval = f"[{accuracy.low:.3f}, {accuracy.high:.3f}]"
            sentence += f"; accuracy of {name} on all rows {accuracy.value:.3f} {interval}"
        return sentence


def sheet_of(files: Sequence[Path]) -> str:
    """The sheet of the verdicts in these files."""
    names = {row["sheet"] for path in files for _, row in _lines(path)}
    if len(names) != 1 or not (name := names.pop()).isalnum():
        raise WrongUse(
            f"The verdicts must be of one sheet, and name it in the column sheet. These files name: {sorted(names)}"
        )
    return name


def read_verdicts(files: Sequence[Path], key: Key) -> list[Verdict]:
    """The verdicts in the files, by model instead of side. Lines without a verdict are left out.

    A line without a reviewer counts for one with the name of the file. Raises Refused for the first invalid line.
    """
    verdicts: dict[tuple[str, str], Verdict] = {}
    for path in files:
        for place, row in _lines(path):
            side, reviewer = row["verdict"].strip(), row["reviewer"].strip() or path.stem
            if not side:
                continue
            name = row["id"].removeprefix("'") if row["id"] not in key.ours_is else row["id"]
            if name not in key.ours_is:
                raise Refused(f"{place}: the sheet {key.sheet} has no row {row['id']!r}")
            verdict = Verdict(name, reviewer, _value(side, name, key, place))
            if verdicts.setdefault((name, reviewer), verdict) != verdict:
                raise Refused(f"{place}: {reviewer} gave two verdicts on row {name}. Keep one")
    return list(verdicts.values())


def _value(side: str, row: str, key: Key, place: str) -> str:
    if not key.is_of_labels:
        return _parse(side, key.ours_is[row], place)
    word = side.casefold()
    if word not in ("a", "b", BOTH, NEITHER):
        raise Refused(f"{place}: the verdict is {side!r}. Write A, B, both or neither, or nothing")
    if word in (BOTH, NEITHER):
        return word
    return BOTH if row in key.agreed else _parse(side, key.ours_is[row], place)


def _parse(side: str, ours_is: str, place: str) -> str:
    if side.casefold() in TIES:
        return ALIKE
    if side.upper() not in ("A", "B"):
        raise Refused(f"{place}: the verdict is {side!r}. Write A, B or tie, or nothing")
    return OURS if side.upper() == ours_is else THEIRS


def _lines(path: Path) -> list[tuple[str, dict[str, str]]]:
    return review_files.lines(path, frozenset({"sheet", "id", "verdict"}), "retune review export")


def score(verdicts: Sequence[Verdict], key: Key, confidence: float) -> Result:
    if not verdicts:
        raise Refused(f"These files hold no verdict on the sheet {key.sheet}. Fill in the column verdict")
    values: dict[str, list[str]] = {row: [] for row in key.ours_is}
    for verdict in verdicts:
        values[verdict.id].append(verdict.value)
    by_row = {row: _majority(of_row) for row, of_row in values.items()}
    counts = Counter(by_row.values())
    wins, losses = counts[OURS], counts[THEIRS]
    p = sign_test(wins, losses)
    lead = "better" if wins > losses else "worse"
    return Result(
        sheet=key.sheet,
        ours=key.ours,
        theirs=key.theirs,
        rows=len(key.ours_is),
        answered=len(key.ours_is) - counts[None],
        wins=wins,
        losses=losses,
        ties=counts[ALIKE] + counts[BOTH] + counts[NEITHER],
        p=p,
        verdict=lead if p <= 1 - confidence else "undecided",
        confidence=confidence,
        agreement=agreement(verdicts),
        accuracy=_accuracy(by_row, key, confidence),
    )


def _accuracy(by_row: Mapping[str, str | None], key: Key, confidence: float) -> dict[str, ReviewedAccuracy]:
    """Of each model on all rows. Rows without a verdict, and those on which reviewers are level, tell nothing."""
    rows = [row for row, value in by_row.items() if value not in (None, ALIKE)] if key.is_of_labels else []
    chances = np.array([key.chances[row] for row in rows])
    estimates = {
        name: review_sample.estimate(np.array([by_row[row] in (side, BOTH) for row in rows]), chances, confidence)
        for name, side in ((key.ours, OURS), (key.theirs, THEIRS))
    }
    return {name: estimate for name, estimate in estimates.items() if estimate}


def _majority(values: list[str]) -> str | None:
    """The most frequent verdict on a row; ALIKE if the two most frequent are level; None without a verdict."""
    if not values:
        return None
    (first, times), *rest = Counter(values).most_common()
    return ALIKE if rest and rest[0][1] == times else first


def agreement(verdicts: Sequence[Verdict]) -> tuple[Agreement, ...]:
    """Of each two reviewers that have a row in common."""
    by_reviewer: dict[str, dict[str, str]] = {}
    for verdict in verdicts:
        by_reviewer.setdefault(verdict.reviewer, {})[verdict.id] = verdict.value
    agreements = []
    for pair in combinations(sorted(by_reviewer), 2):
        if common := sorted(by_reviewer[pair[0]].keys() & by_reviewer[pair[1]].keys()):
            first, second = ([by_reviewer[name][row] for row in common] for name in pair)
            share = sum(a == b for a, b in zip(first, second, strict=True)) / len(common)
            agreements.append(Agreement(pair, len(common), share, kappa(first, second)))
    return tuple(agreements)


def kappa(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Cohen's kappa of two verdicts on each row: (agreement - chance) / (1 - chance)."""
    rows, first_counts, second_counts = len(first), Counter(first), Counter(second)
    share = sum(a == b for a, b in zip(first, second, strict=True)) / rows
    chance = sum(first_counts[value] * second_counts[value] for value in first_counts) / rows**2
    return None if chance == 1 else (share - chance) / (1 - chance)


def as_record(result: Result, verdicts: Sequence[Verdict], key: Key) -> dict[str, Any]:
    """Verdicts and sides, without prompts, answers and notes, which are personal."""
    answers = [{"id": each.id, "reviewer": each.reviewer, "said": each.value} for each in verdicts]
    return {**asdict(result), "key": asdict(key), "answers": answers}
