"""Reviewers' verdicts on served answers come back; what they accept becomes rows to ingest."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from retune.errors import Refused
from retune.evaluation import label_review
from retune.evaluation.human_verdicts import Agreement, Verdict, agreement
from retune.evaluation.label_review import Answer
from retune.serving import feedback, served_rows
from retune.serving.database import Engine
from retune.serving.feedback import RIGHT, UNUSABLE, WRONG, Feedback, Key, Review


@dataclass(frozen=True)
class Row:
    """A reviewed answer as a row to learn from."""

    key: Key
    text: str  # as the log has it
    label: str  # that reviewers gave
    answer: str  # of the model

    @property
    def id(self) -> str:
        return feedback.row_id(self.key)


@dataclass
class Import:
    judged: list[Review] = field(default_factory=list)
    known: list[str] = field(default_factory=list)  # ids with the same verdict already
    conflicts: list[str] = field(default_factory=list)  # sentences
    agreement: tuple[Agreement, ...] = ()


def import_(engine: Engine, files: Sequence[Path], labels: Collection[str], allow_new: bool) -> Import:
    """Write the verdicts in `files` down, all of them or, where a line is invalid, none. labels: the ones allowed."""
    answers = label_review.read_answers(files, labels, allow_new, "retune review feedback export")
    if not answers:
        raise Refused(
            "these files hold no verdict", remedy="fill in the column verdict: keep, suggested, other or drop"
        )
    reviews = {f"{review.request_id}:{review.position}": review for review in feedback.reviews(engine)}
    result = Import(agreement=agreement([Verdict(each.id, each.reviewer, each.after or "") for each in answers]))
    for name in sorted({answer.id for answer in answers}):
        _judge(name, [answer for answer in answers if answer.id == name], reviews.get(name), result)
    feedback.judge(engine, result.judged)
    return result


def _judge(name: str, answers: Sequence[Answer], review: Review | None, result: Import) -> None:
    after = answers[0].after
    if review is None or any((each.text_sha256, each.label) != (review.text_sha256, review.answer) for each in answers):
        raise Refused(
            f"no sheet of this project has the answer {name} with this text and label",
            remedy="import sheets as they were exported",
        )
    reviewers = " and ".join(sorted({answer.reviewer for answer in answers}))
    if len({answer.after for answer in answers}) > 1:
        result.conflicts.append(f"{name}: {'; '.join(_says(each.reviewer, each.after) for each in answers)}")
    elif review.verdict is None:
        verdict = UNUSABLE if after is None else RIGHT if after == review.answer else WRONG
        result.judged.append(replace(review, verdict=verdict, label=after, reviewers=reviewers))
    elif review.label == after:
        result.known.append(name)
    else:
        result.conflicts.append(
            f"{name}: before, {review.reviewers}: {review.label or 'drop'}; {_says(reviewers, after)}"
        )


def _says(reviewer: str, label: str | None) -> str:
    return f"{reviewer} says {label or 'drop'}"


def to_ingest(engine: Engine, model: str, rows_per_person: int, since: float) -> tuple[list[Row], list[str]]:
    """The accepted rows that are not ingested yet, and the ids of those that wait as one person has row_counts enough.

    A person brings a row whose label reviewers took from that person's feedback, at most `rows_per_person` since then.
    A row whose text the log no longer has cannot be learned from, and is left out.
    """
    pieces, reviews = feedback.of_answers(engine), feedback.reviews(engine, model)
    row_counts: Counter[str] = Counter()
    for review in reviews:
        if review.ingested and review.asked >= since:
            row_counts.update(_people(review, pieces))
    rows, over_quota = [], []
    for review in reviews:
        if review.ingested or review.label is None:
            continue
        name, people = f"{review.request_id}:{review.position}", _people(review, pieces)
        if any(row_counts[person] >= rows_per_person for person in people):
            over_quota.append(name)
        elif text := _text(engine, review):
            row_counts.update(people)
            rows.append(Row(review.key, text, review.label, review.answer))
    return rows, over_quota


def _text(engine: Engine, review: Review) -> str | None:
    rows = served_rows.of_request(engine, review.request_id)
    texts = [row["text"] for row in rows if row["position"] == review.position and row["arm"] != served_rows.SHADOW]
    return texts[0] if texts else None


def _people(review: Review, pieces: Mapping[Key, Sequence[Feedback]]) -> set[str]:
    """Whose feedback reviewers followed against the model."""
    of_answer = pieces.get(review.key, ()) if review.verdict == WRONG else ()
    return {each.person for each in of_answer if each.label == review.label}
