from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from retune.errors import Refused
from retune.serving import database, feedback
from retune.serving.feedback import Feedback, Review

SAID = Feedback("r1", 0, "person", 1000.0, label="billing")
DRAWN = Review("r1", 0, "classifier", "sheet", 2000.0, 1000.0, 0.5, "refunds", "0" * 64)


@pytest.fixture
def engine(tmp_path):
    return database.connect(f"sqlite:///{tmp_path / 'serving.db'}")


def test_the_same_said_twice_is_one_however_late(engine):
    assert feedback.add(engine, SAID, 60)
    assert not feedback.add(engine, replace(SAID, time=5000.0), 60)
    assert feedback.of_answers(engine) == {("r1", 0): [SAID]}


def test_who_says_too_much_in_an_hour_is_refused_until_the_hour_is_over(engine):
    for position in range(3):
        feedback.add(engine, replace(SAID, position=position), 3)
    with pytest.raises(Refused, match="3 pieces of feedback in an hour"):
        feedback.add(engine, replace(SAID, position=3), 3)
    assert feedback.add(engine, replace(SAID, position=3, person="another"), 3)
    assert feedback.add(engine, replace(SAID, position=3, time=SAID.time + 3601), 3)


def test_many_at_once_are_all_there_once(engine):
    pieces = [replace(SAID, position=number % 50) for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        news = list(pool.map(lambda piece: feedback.add(engine, piece, 1000), pieces))
    assert sum(news) == 50
    assert len(feedback.of_answers(engine)) == 50


@pytest.mark.parametrize(
    ("piece", "disputes"),
    [
        (replace(SAID, label="billing"), False),
        (replace(SAID, label="refunds"), True),
        (replace(SAID, label=None, rating=0.0), True),
        (replace(SAID, label=None, rating=1.0), False),
        (replace(SAID, label="billing", rating=0.0), False),
        (replace(SAID, label=None, note="hm"), False),
    ],
)
def test_another_label_or_a_bad_rating_disputes_an_answer(piece, disputes):
    assert piece.disputes("billing") == disputes


def test_an_answer_stands_on_one_sheet(engine):
    feedback.draw(engine, [DRAWN])
    with pytest.raises(Refused, match="draw again"):
        feedback.draw(engine, [replace(DRAWN, position=1), replace(DRAWN, sheet="other")])
    assert feedback.reviews(engine) == [DRAWN]


def test_the_requests_that_had_their_chance_end_with_the_last_sheet_of_their_model(engine):
    assert feedback.last_drawn(engine, "classifier") == 0
    feedback.draw(engine, [DRAWN, replace(DRAWN, position=1, drawn=9000.0, chance=None)])
    assert feedback.last_drawn(engine, "classifier") == 2000, "disputed answers give others no chance"
    assert feedback.last_drawn(engine, "other") == 0


def test_a_verdict_and_its_ingest_are_written_down(engine):
    feedback.draw(engine, [DRAWN])
    verdict = replace(DRAWN, verdict=feedback.WRONG, label="billing", reviewers="Ada")
    feedback.judge(engine, [verdict])
    feedback.mark_ingested(engine, [DRAWN.key])
    assert feedback.reviews(engine, "classifier") == [replace(verdict, ingested=True)]
    assert feedback.reviews(engine, "other") == []


def test_a_forgotten_answer_takes_with_it_what_was_said_of_it(engine):
    feedback.add(engine, SAID, 60)
    feedback.add(engine, replace(SAID, position=1), 60)
    feedback.draw(engine, [replace(DRAWN, verdict=feedback.WRONG, label="billing")])
    with engine.begin() as connection:
        feedback.forget(connection, [DRAWN.key])
    assert list(feedback.of_answers(engine)) == [("r1", 1)]
    assert [(review.verdict, review.label) for review in feedback.reviews(engine)] == [(feedback.WRONG, None)]


def test_a_row_of_feedback_leads_to_its_request():
    assert feedback.request_of(feedback.row_id(("a:b", 3))) == "a:b"
    assert feedback.request_of("T-17") is None
    assert feedback.request_of("request:") is None
