"""What people say of the answers of a rollout: corrections of either version, and labels of what both answered.

A verdict of a reviewer counts before feedback. Feedback is no sample: who sees a wrong answer speaks up, so of requests
that both answered it shows the champion's mistakes rather than the challenger's. Reviewed answers are drawn at random.
"""

from bisect import bisect_left
from collections.abc import Iterable

from sqlalchemy import ColumnElement, Engine, Row, and_, select

from retune.config.rollout import SHADOW
from retune.promotion.anytime import Block
from retune.serving import feedback
from retune.serving.feedback import FEEDBACK, REVIEWS, Feedback
from retune.serving.request_log import ANSWERS
from retune.serving.router import CHAMPION

MINUTE = 60.0


def corrections(engine: Engine, rows: ColumnElement[bool], now: float) -> list[Block]:
    """Of the answers in a step: a block for each minute in which corrections came, among the answers so far.

    rows: of `ANSWERS`, those of the step. now: seconds since 1970.
    """
    is_answer = and_(rows, ANSWERS.c.error == "")
    with engine.connect() as connection:
        answers = connection.execute(select(ANSWERS.c.arm, ANSWERS.c.time).where(is_answer)).all()
    moments = {side: sorted(time for arm, time in answers if (arm == CHAMPION) == side) for side in (False, True)}
    minutes: dict[int, list[int]] = {}
    for moment, is_champion in _disputes(engine, is_answer).values():
        if moment < now // MINUTE * MINUTE:
            minutes.setdefault(int(moment // MINUTE), [0, 0])[is_champion] += 1
    blocks, earlier = [], [0, 0]
    for minute, wrong in sorted(minutes.items()):
        counts = [bisect_left(moments[bool(side)], (minute + 1) * MINUTE) - earlier[side] for side in (0, 1)]
        blocks.append(Block(max(counts[0], wrong[0]), wrong[0], max(counts[1], wrong[1]), wrong[1]))
        earlier = [before + more for before, more in zip(earlier, wrong, strict=True)]
    return blocks


def _disputes(engine: Engine, is_answer: ColumnElement[bool]) -> dict[tuple[str, int], tuple[float, bool]]:
    """Answer -> when somebody first said that it is wrong, and whether it is the champion's."""
    of_feedback = select(ANSWERS.c.arm, ANSWERS.c.label.label("answer"), *FEEDBACK.c).join(
        FEEDBACK, and_(FEEDBACK.c.request_id == ANSWERS.c.request_id, FEEDBACK.c.position == ANSWERS.c.position)
    )
    of_reviews = select(ANSWERS.c.arm, *REVIEWS.c).join(
        REVIEWS, and_(REVIEWS.c.request_id == ANSWERS.c.request_id, REVIEWS.c.position == ANSWERS.c.position)
    )
    disputes: dict[tuple[str, int], tuple[float, bool]] = {}
    with engine.connect() as connection:
        reviewed = connection.execute(of_reviews.where(is_answer, REVIEWS.c.verdict.is_not(None))).all()
        voiced = connection.execute(of_feedback.where(is_answer).order_by(FEEDBACK.c.time)).all()
    for row in reviewed:
        if row.verdict == feedback.WRONG:
            disputes[row.request_id, row.position] = (row.drawn, row.arm == CHAMPION)
    settled = {(row.request_id, row.position) for row in reviewed}
    for row in voiced:
        key = (row.request_id, row.position)
        if key not in settled and _feedback(row).disputes(row.answer):
            disputes.setdefault(key, (row.time, row.arm == CHAMPION))
    return disputes


def pairs(engine: Engine, model: str, versions: tuple[str, str], start: float) -> tuple[int, int]:
    """Of the labelled requests that both answered: on how many the challenger, and the champion, alone was wrong.

    versions: challenger and champion. start: seconds since 1970.
    """
    other = ANSWERS.alias()
    same = and_(other.c.request_id == ANSWERS.c.request_id, other.c.position == ANSWERS.c.position)
    both = (
        select(
            ANSWERS.c.request_id,
            ANSWERS.c.position,
            other.c.label.label("shadow"),
            ANSWERS.c.label.label("served_label"),
        )
        .join(other, same)
        .where(
            *(ANSWERS.c.model == model, ANSWERS.c.arm == CHAMPION, ANSWERS.c.version == versions[1]),
            *(other.c.model == model, other.c.arm == SHADOW, other.c.version == versions[0]),
            *(ANSWERS.c.time >= start, ANSWERS.c.error == "", other.c.error == ""),
        )
        .subquery()
    )
    truths: dict[tuple[str, int], str] = {}
    candidates: dict[tuple[str, int], tuple[str, str]] = {}
    with engine.connect() as connection:
        for table in (FEEDBACK, REVIEWS):  # what reviewers say replaces what others said
            is_it = and_(table.c.request_id == both.c.request_id, table.c.position == both.c.position)
            for row in connection.execute(select(both.c.shadow, both.c.served_label, *table.c).join(table, is_it)):
                key = (row.request_id, row.position)
                candidates[key] = (row.shadow, row.served_label)
                if (truth := _truth(row)) is not None:
                    truths[key] = truth
    return _alone((candidates[key], truth) for key, truth in truths.items())


def _truth(row: Row[tuple[object, ...]]) -> str | None:
    """The right label, if the feedback or the verdict says it."""
    if hasattr(row, "verdict") and row.verdict == feedback.RIGHT:
        return str(row.answer)
    return row.label if row.label is not None else None


def _alone(labelled: Iterable[tuple[tuple[str, str], str]]) -> tuple[int, int]:
    wrong = [(shadow != truth, served_label != truth) for (shadow, served_label), truth in labelled]
    return sum(one and not other for one, other in wrong), sum(other and not one for one, other in wrong)


def _feedback(row: Row[tuple[object, ...]]) -> Feedback:
    return Feedback(row.request_id, row.position, row.person, row.time, row.label, row.rating, row.note)
