from datetime import UTC, datetime

import numpy as np

from retune.monitoring import reviewed_quality
from retune.serving.feedback import RIGHT, UNUSABLE, WRONG, Review

MONDAY = datetime(2026, 11, 30, tzinfo=UTC).timestamp()
DAY = 86400


def review(time, verdict, chance=0.5):
    return Review(str(time), 0, "classifier", "sheet", time, time, chance, "billing", "", verdict)


def test_a_week_counts_its_requests_by_their_chance_to_be_drawn():
    rows = [review(MONDAY + n, RIGHT, 0.1) for n in range(9)] + [review(MONDAY + 10, WRONG, 0.9)]
    (week,) = reviewed_quality.by_week(rows, 0.95)
    assert (week.week, week.accuracy.n) == ("2026-W49", 10)
    assert np.isclose(week.accuracy.value, 90 / (90 + 1 / 0.9))


def test_weeks_begin_on_monday_in_utc():
    rows = [review(MONDAY - 1, RIGHT), review(MONDAY - 2, RIGHT), review(MONDAY, RIGHT), review(MONDAY + DAY, RIGHT)]
    assert [week.week for week in reviewed_quality.by_week(rows, 0.95)] == ["2026-W48", "2026-W49"]


def test_disputed_unusable_and_unread_answers_tell_nothing_of_others():
    rows = [review(MONDAY, WRONG, None), review(MONDAY, UNUSABLE), review(MONDAY, None), review(MONDAY, RIGHT)]
    (week,) = reviewed_quality.by_week(rows, 0.95)
    assert week.accuracy is None, "one verdict is too few"
    assert reviewed_quality.by_week([], 0.95) == []
