"""How good the served answers were, week by week, by the verdicts of reviewers on samples of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from retune.evaluation import review_sample
from retune.evaluation.review_sample import ReviewedAccuracy
from retune.serving.feedback import RIGHT, WRONG, Review


@dataclass(frozen=True)
class Week:
    week: str  # of ISO 8601, such as 2026-W48, in UTC
    accuracy: ReviewedAccuracy | None  # of all its requests; None for fewer than two verdicts


def by_week(reviews: Sequence[Review], confidence: float) -> list[Week]:
    """The weeks in which drawn requests came, the first one first.

    Answers that were drawn for their feedback and those that reviewers call unusable tell nothing of others.
    """
    weeks: dict[str, list[Review]] = {}
    for review in reviews:
        if review.chance is not None and review.verdict in (RIGHT, WRONG):
            weeks.setdefault(_week(review.asked), []).append(review)
    return [Week(week, _accuracy(weeks[week], confidence)) for week in sorted(weeks)]


def _week(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%G-W%V")


def _accuracy(reviews: Sequence[Review], confidence: float) -> ReviewedAccuracy | None:
    right = np.array([review.verdict == RIGHT for review in reviews])
    return review_sample.estimate(right, np.array([review.chance for review in reviews]), confidence)
