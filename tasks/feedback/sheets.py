"""Served answers go out to reviewers: a sample drawn where it tells most, and what people have disputed."""

import secrets
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from retune.data.label_verdicts import digest
from retune.errors import Refused, WrongUse
from retune.evaluation import label_review, review_sample
from retune.serving import feedback, served_rows
from retune.serving.database import Engine
from retune.serving.feedback import Feedback, Key, Review

SETTLES = 60.0  # seconds until an answer stands in the log for sure
LATE_SHARE = 0.5  # of a sheet, that disputes of answers from before the last sheet may take


@dataclass(frozen=True)
class ServedAnswer:
    """An answer that somebody got, with its text as the log keeps it."""

    request_id: str
    position: int
    time: float
    text: str
    label: str
    confidence: float

    @property
    def key(self) -> Key:
        return self.request_id, self.position


COLUMNS = tuple(each.name for each in fields(ServedAnswer))


@dataclass(frozen=True)
class Panel:
    """How many people share a sheet, and the share of the rows that two of them get."""

    reviewers: int
    double_share: float


@dataclass(frozen=True)
class Drawn:
    sheet: str
    reviews: list[Review]
    requests: int  # that the sample stands for
    disputed: int  # of the drawn ones
    files: list[Path]  # a CSV and a page for each reviewer


def export(engine: Engine, model: str, rows: int, panel: Panel, labels: Sequence[str], out: Path, now: float) -> Drawn:
    """Draw a sheet of at most `rows` answers of a model, write it down, and write the files of its reviewers.

    labels: offered beside those that were answered. now: seconds since 1970. Answers that somebody chose for a sheet
    meanwhile were sure to be looked at, and count for themselves in the estimate.
    Raises Refused if no answer with a text came since the last sheet, WrongUse if `out` cannot be written.
    """
    since, until = feedback.last_drawn(engine, model), now - SETTLES
    pieces = feedback.of_answers(engine)
    answers = _answers(engine, model, until)
    reviews = {review.key: review for review in feedback.reviews(engine, model)}
    recent = [each for each in answers if each.time >= since]
    frame = [each for each in recent if each.key not in reviews]
    late = _late_disputes(answers, pieces, since, reviews)[: int(rows * LATE_SHARE)]
    if not frame and not late:
        raise Refused(
            "no answer with its text was served since the last sheet", remedy="serve.log.text says what stays"
        )
    drawn = [(each, None) for each in late] + _sample(frame, pieces, rows - len(late))
    offered = sorted({*labels, *(each.label for each in answers)})
    result = _hand_out(engine, drawn, len(recent), _Sheet(model, panel, offered, out, until), pieces)
    feedback.count_as_sure(engine, [each.key for each in recent if each.key in reviews])
    return result


def export_chosen(engine: Engine, model: str, keys: Sequence[Key], panel: Panel, out: Path, now: float) -> Drawn | None:
    """A sheet of the answers that are named, but for those that a sheet has: None if all are. They tell nothing of
    others.
    """
    reviewed = {review.key for review in feedback.reviews(engine, model)}
    answers = _answers(engine, model, now)
    by_key = {each.key: each for each in answers}
    drawn = [(by_key[key], None) for key in keys if key in by_key and key not in reviewed]
    labels = sorted({each.label for each in answers})
    sheet = _Sheet(model, panel, labels, out, now)
    return _hand_out(engine, drawn, 0, sheet, feedback.of_answers(engine)) if drawn else None


@dataclass(frozen=True)
class _Sheet:
    model: str
    panel: Panel
    labels: Sequence[str]
    out: Path
    until: float


def _hand_out(
    engine: Engine,
    drawn: Sequence[tuple[ServedAnswer, float | None]],
    requests: int,
    plan: _Sheet,
    pieces: Mapping[Key, Sequence[Feedback]],
) -> Drawn:
    order = np.random.default_rng(secrets.randbits(32)).permutation(len(drawn))
    cells = [_cells(drawn[place][0], pieces, drawn[place][1]) for place in order.tolist()]
    sheet = label_review.sheet_of(cells, plan.labels)
    reviews = [_review(answer, chance, plan.model, sheet.name, plan.until) for answer, chance in drawn]
    files = _write(sheet, _shares(cells, plan.panel), plan.out)
    try:
        feedback.draw(engine, reviews)
    except BaseException:
        for path in files:
            path.unlink(missing_ok=True)
        raise
    disputed = sum(_is_disputed(answer, pieces) for answer, _ in drawn)
    return Drawn(sheet.name, reviews, requests, disputed, files)


def _answers(engine: Engine, model: str, until: float) -> list[ServedAnswer]:
    """What people got and the log has the text of, until a moment; of requests with one id the first."""
    table = served_rows.window(engine, model, 0.0, until, [*COLUMNS, "error", "arm"])
    is_whole = (table["error"] == "") & (table["arm"] != served_rows.SHADOW) & table["text"].notna()
    rows = table.loc[is_whole, list(COLUMNS)].drop_duplicates(["request_id", "position"])
    return [ServedAnswer(*row) for row in rows.itertuples(index=False)]


def _late_disputes(
    answers: Sequence[ServedAnswer], pieces: Mapping[Key, Sequence[Feedback]], before: float, reviews: Container[Key]
) -> list[ServedAnswer]:
    """Disputed answers from before the last sheet that no sheet has."""
    return [each for each in answers if each.time < before and each.key not in reviews and _is_disputed(each, pieces)]


def _sample(
    frame: Sequence[ServedAnswer], pieces: Mapping[Key, Sequence[Feedback]], rows: int
) -> list[tuple[ServedAnswer, float]]:
    if not frame or rows <= 0:
        return []
    disputed = np.array([_is_disputed(each, pieces) for each in frame])
    confidence = np.array([each.confidence for each in frame])
    chances = review_sample.chances(review_sample.weights(disputed, confidence, np.zeros(len(frame), dtype=bool)), rows)
    places = review_sample.draw(chances, secrets.randbits(32)).tolist()
    return [(frame[place], float(chances[place])) for place in places]


def _is_disputed(answer: ServedAnswer, pieces: Mapping[Key, Sequence[Feedback]]) -> bool:
    return any(each.disputes(answer.label) for each in pieces.get(answer.key, ()))


def _cells(answer: ServedAnswer, pieces: Mapping[Key, Sequence[Feedback]], chance: float | None) -> dict[str, Any]:
    of_answer = pieces.get(answer.key, ())
    suggested = Counter(each.label for each in of_answer if each.label not in (None, answer.label))
    return {
        "id": f"{answer.request_id}:{answer.position}",
        "text": answer.text,
        "label": answer.label,
        "suggested": suggested.most_common(1)[0][0] if suggested else "",
        "score": 1.0 if chance is None else chance,
    }


def _review(answer: ServedAnswer, chance: float | None, model: str, sheet: str, drawn: float) -> Review:
    place = (answer.request_id, answer.position, model, sheet)
    return Review(*place, drawn, answer.time, chance, answer.label, digest(answer.text))


def _shares(cells: Sequence[dict[str, Any]], panel: Panel) -> list[list[dict[str, Any]]]:
    """The rows of each reviewer: in turn, the first `double_share` of them also to the next one."""
    shares: list[list[dict[str, Any]]] = [[] for _ in range(panel.reviewers)]
    twice = round(panel.double_share * len(cells)) if panel.reviewers > 1 else 0
    for place, row in enumerate(cells):
        shares[place % panel.reviewers].append(row)
        if place < twice:
            shares[(place + 1) % panel.reviewers].append(row)
    return shares


def _write(sheet: label_review.Sheet, shares: Sequence[list[dict[str, Any]]], out: Path) -> list[Path]:
    files = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for number, rows in enumerate(shares, 1):
            of_one = label_review.Sheet(sheet.name, rows, sheet.labels)
            stem = f"feedback-{sheet.name}" + (f"-{number}" if len(shares) > 1 else "")
            for suffix, content in ((".csv", label_review.as_csv(of_one)), (".html", label_review.as_page(of_one))):
                path = out / f"{stem}{suffix}"
                path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
                files.append(path)
    except OSError as error:
        raise WrongUse(f"--out {out} cannot be written: {error.strerror}") from None
    return files
