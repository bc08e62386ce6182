"""What the data of a clone is like, on one page: what came in, what became of it, how it changed, what to do next."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retune.data.drift import Drift
from retune.pages.page import render

TEMPLATE = Path(__file__).with_suffix(".html")
MEANINGS = {  # reason of a reject -> what is the matter with the row
    "no_id": "has no id",
    "suppressed": "must not be learned from",
    "superseded": "came again later under the same id",
    "empty": "has no text",
    "no_label": "has no label or answer",
    "no_rejected": "has no worse answer",
    "no_preference": "has one text as better and as worse answer",
    "personal_data": "holds personal data whose action is drop",
    "out_of_scope": "belongs to none of the labels, and is asked in evaluation alone",
    "dropped_by_review": "was dropped by a person who reviewed its label",
    "too_short": "has too few characters",
    "too_long": "has too many characters",
    "copy_of_test": "equals a row that the data assigns to test",
    "prompt_of_test": "has the prompt of a test row",
    "contradicts_test": "equals a test row, with another label",
    "conflicting_labels": "has a text that stands under several labels",
    "contradicts_itself": "came the other way round too",
    "exact_copy": "equals an earlier row with the same label or answer",
    "near_copy_of_test": "differs from a test row in a few words or a number",
    "near_copy": "differs from an earlier row with the same label or answer in a few words or a number",
    "contradicts_accepted": "contradicts what an earlier part brought",
    "suspicious_phrase": "holds a rare phrase that goes with one label against all its other words",
    "source_quota": "is beyond the share that one source may have",
    "rare_label": "has a label of very few rows",
}


@dataclass(frozen=True)
class Example:
    id: str
    text: str  # without personal data
    detail: str


@dataclass(frozen=True)
class Dropped:
    reason: str
    meaning: str
    rows: int
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Source:
    name: str
    received: int
    kept: int
    unreadable: int


@dataclass(frozen=True)
class NextStep:
    """Something worth doing. `rows`: training rows that it would bring, mend or make worth more, as an estimate."""

    title: str
    rows: int
    how: str


@dataclass(frozen=True)
class LengthBin:
    low: int  # characters, at least
    high: int  # and fewer than these
    rows: int


@dataclass(frozen=True)
class DataReport:
    task: str
    received: int
    kept: int
    unreadable: int
    sources: tuple[Source, ...]
    dropped: tuple[Dropped, ...]  # the most frequent reason first
    personal: dict[str, int]  # type -> values that were replaced
    personal_rows: int
    labels: dict[str, dict[str, int]]  # label -> split -> rows; empty where there are no labels
    splits: dict[str, int]  # split -> rows
    lengths: tuple[LengthBin, ...]
    warnings: tuple[str, ...]  # what curation and validation tell a person
    champion: str | None  # NAME/VERSION
    drift: Drift | None  # of the rows that are new since the champion
    new_rows: int | None  # None: there is no champion
    production: Drift | None  # from the curated rows to the texts of production
    production_rows: int | None  # None: there are none to compare with
    next_steps: tuple[NextStep, ...]  # the most useful one first


def page(report: DataReport) -> str:
    """The page in HTML: one file that needs no network."""
    return render(
        TEMPLATE,
        r=report,
        most=max([each.rows for each in report.dropped], default=1),
        longest=max([each.rows for each in report.lengths], default=1),
        widest=max([sum(splits.values()) for splits in report.labels.values()], default=1),
        title=_title(report),
    )


def _title(report: DataReport) -> str:
    came = report.received + report.unreadable
    return f"{report.kept:,} of {came:,} rows are kept to learn from and to test"


def in_a_sentence(report: DataReport) -> str:
    """What the data did, for a message."""
    reasons = ", ".join(f"{each.rows:,} {each.reason}" for each in report.dropped[:3])
    rejected, values = sum(each.rows for each in report.dropped), sum(report.personal.values())
    parts = [f"{report.kept:,} of {report.received + report.unreadable:,} rows kept"]
    parts += [f"{rejected:,} dropped ({reasons}{', …' if len(report.dropped) > 3 else ''})"] if rejected else []
    parts += [f"{report.unreadable:,} unreadable"] if report.unreadable else []
    parts += [f"{values:,} values of personal data replaced"] if values else []
    if report.drift:
        kinds = {"labels": report.drift.labels, "sources": report.drift.sources, "words": report.drift.words}
        names = [f"{kind} {', '.join(each.name for each in changes[:3])}" for kind, changes in kinds.items() if changes]
        parts.append(f"drift of {' and of '.join(names)}" if names else "no drift")
    return "; ".join(parts)


def most_useful(steps: Sequence[NextStep], count: int = 3) -> tuple[NextStep, ...]:
    """The steps of most rows, at most `count`."""
    return tuple(sorted((step for step in steps if step.rows > 0), key=lambda step: (-step.rows, step.title))[:count])
