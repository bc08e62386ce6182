"""A sheet on which people judge doubtful labels, and what their verdicts become.

A sheet has a row for each text with its label and the suggested one. It carries all that its import needs, so that
whoever imports it needs no other file: `text_sha256` says which text was reviewed. A verdict is `keep`, `suggested`,
`other` with a `new_label`, or `drop`.
"""

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retune.data.label_verdicts import Verdict, Verdicts, digest
from retune.errors import Refused
from retune.evaluation import review_files
from retune.pages.page import render

TEMPLATE = Path(__file__).with_suffix(".html")
COLUMNS = (
    *("sheet", "id", "text", "label", "suggested", "score"),
    *("verdict", "new_label", "reviewer", "note", "text_sha256"),
)
NEEDED = frozenset({"sheet", "id", "label", "suggested", "verdict", "text_sha256"})
VALUES = ("keep", "suggested", "other", "drop")


@dataclass(frozen=True)
class Sheet:
    name: str
    rows: list[dict[str, Any]]  # id, text, label, suggested, score
    labels: list[str]


def sheet_of(rows: list[dict[str, Any]], labels: Sequence[str]) -> Sheet:
    name = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:12]
    return Sheet(name, rows, sorted(labels))


def as_csv(sheet: Sheet) -> bytes:
    empty = dict.fromkeys(COLUMNS, "")
    rows = [
        {**empty, **row, "sheet": sheet.name, "score": f"{row['score']:.4f}", "text_sha256": digest(row["text"])}
        for row in sheet.rows
    ]
    return review_files.as_csv(COLUMNS, ([row[name] for name in COLUMNS] for row in rows))


def as_page(sheet: Sheet) -> str:
    """One HTML file that needs no network, keeps the verdicts in the browser, and saves them as a file."""
    rows = [{**row, "cells": json.dumps(_cells(row), ensure_ascii=False)} for row in sheet.rows]
    return render(TEMPLATE, sheet=sheet.name, rows=rows, labels=sheet.labels)


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    return {"label": row["label"], "suggested": row["suggested"], "text_sha256": digest(row["text"])}


@dataclass(frozen=True)
class Answer:
    """One reviewer's verdict on a row, as the sheet has it."""

    id: str
    text_sha256: str
    label: str  # that was reviewed
    after: str | None  # None: drop the row
    reviewer: str


def read_answers(files: Sequence[Path], labels: Collection[str], allow_new: bool, command: str) -> list[Answer]:
    """The verdicts in the files; lines without one are left out. Raises Refused for the first invalid line.

    A line without a reviewer counts for one with the name of the file. labels: those of the data, the only ones that a
    verdict may give unless `allow_new`. command: that exports such sheets.
    """
    answers: dict[tuple[str, str], Answer] = {}
    for path in files:
        for place, row in review_files.lines(path, NEEDED, command):
            answer = _answer(place, row, path.stem)
            if answer is None:
                continue
            if answer.after not in (None, *labels) and not allow_new:
                raise Refused(
                    f"{place}: no row of the data has the label {answer.after!r}",
                    remedy="mend the spelling, or import with --allow-new",
                )
            if answers.setdefault((answer.id, answer.reviewer), answer) != answer:
                raise Refused(f"{place}: {answer.reviewer} gave two verdicts on row {answer.id}. Keep one")
    return list(answers.values())


def _answer(place: str, row: Mapping[str, str], file: str) -> Answer | None:
    new_label = review_files.unescaped(row.get("new_label", "").strip())
    value = row["verdict"].strip().casefold() or ("other" if new_label else "")
    if not value:
        return None
    if value not in VALUES:
        raise Refused(f"{place}: the verdict is {row['verdict']!r}. Write keep, suggested, other or drop, or nothing")
    if (value == "other") != bool(new_label):
        wrong = "names no new_label" if value == "other" else f"stands beside the new_label {new_label!r}"
        raise Refused(f"{place}: the verdict {value} {wrong}. Only `other` takes one")
    if not re.fullmatch("[0-9a-f]{64}", sha256 := row["text_sha256"].strip()):
        raise Refused(f"{place}: the text_sha256 is {sha256!r}, not that of the sheet. Leave this column as it is")
    label, suggested = (review_files.unescaped(row[name]) for name in ("label", "suggested"))
    after = {"keep": label, "suggested": suggested, "other": new_label, "drop": None}[value]
    if not label or after == "":
        raise Refused(f"{place}: the row has no label to keep or to take. Leave these columns as they are")
    reviewer = " ".join(row["reviewer"].split()) or file
    return Answer(review_files.unescaped(row["id"]), sha256, label, after, reviewer)


@dataclass
class Import:
    """What became of the answers."""

    verdicts: Verdicts
    added: list[str] = field(default_factory=list)  # ids
    replaced: list[str] = field(default_factory=list)  # of rows on which the same reviewers had said something else
    known: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)  # rows that are no longer as they were reviewed, or not there
    conflicts: list[str] = field(default_factory=list)  # sentences


def merge(verdicts: Verdicts, answers: Sequence[Answer], rows: Mapping[str, tuple[str, str]], day: str) -> Import:
    """The verdicts with the answers. rows: id -> text and label, of the curated rows.

    A row on which reviewers disagree, also with a verdict that stands, is named and left as it was.
    """
    result = Import(dict(verdicts))
    for name in sorted({answer.id for answer in answers}):
        of_row = [answer for answer in answers if answer.id == name]
        standing = verdicts.get(name)
        if len({(answer.text_sha256, answer.label, answer.after) for answer in of_row}) > 1:
            result.conflicts.append(f"{name}: {'; '.join(sorted(map(_in_words, of_row)))}")
            continue
        verdict = _verdict(of_row, standing, day)
        if standing and verdict == _dated(standing, verdict):
            result.known.append(name)
        elif not _still_there(of_row[0], standing, rows.get(name)):
            result.changed.append(name)
        elif standing and _contradict(standing, of_row[0], verdict):
            result.conflicts.append(f"{name}: {standing} stands; {_in_words(of_row[0])}")
        else:
            (result.replaced if standing else result.added).append(name)
            result.verdicts[name] = verdict
    return result


def _verdict(answers: Sequence[Answer], standing: Verdict | None, day: str) -> Verdict:
    first = answers[0]
    reviewers = " and ".join(sorted(answer.reviewer for answer in answers))
    # Who reviews a row that a verdict has relabelled sees its label of today: curation starts from the one before.
    is_next = standing is not None and (standing.text_sha256, standing.after) == (first.text_sha256, first.label)
    before = standing.before if standing and is_next else first.label
    return Verdict(first.id, first.text_sha256, before, first.after, reviewers, day)


def _dated(standing: Verdict, verdict: Verdict) -> Verdict:
    """The verdict that stands, as if it had been given by these reviewers today."""
    return Verdict(standing.id, standing.text_sha256, standing.before, standing.after, verdict.reviewer, verdict.at)


def _still_there(answer: Answer, standing: Verdict | None, row: tuple[str, str] | None) -> bool:
    """Whether the row is as it was reviewed, or what the verdict that stands made of it."""
    if standing and standing.drops and row is None:
        return standing.text_sha256 == answer.text_sha256
    if row is None or digest(row[0]) != answer.text_sha256:
        return False
    return row[1] == answer.label or bool(standing and standing.before == answer.label and row[1] == standing.after)


def _contradict(standing: Verdict, answer: Answer, verdict: Verdict) -> bool:
    """Whether others said something else of the very same text and label."""
    same = (standing.text_sha256, standing.before) == (answer.text_sha256, answer.label)
    return same and standing.reviewer != verdict.reviewer


def _in_words(answer: Answer) -> str:
    what = "drop" if answer.after is None else "keep" if answer.after == answer.label else answer.after
    return f"{answer.reviewer} says {what}"
