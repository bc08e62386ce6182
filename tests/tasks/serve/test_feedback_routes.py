import pytest

from retune.serving import feedback
from tests.support import served
from tests.tasks.serve.test_app import error, post


def say(logged_client, **words):
    return post(logged_client, {"request_id": "r0", **words}, "/v1/feedback")


def test_what_is_acknowledged_is_on_disk_and_waits(logged_client, log_engine):
    response = say(logged_client, position=1, label="refunds", rating=0.25, note="call +44 20 7946 0018", who="Ann")
    assert response.status_code == 200
    ((key, (piece,)),) = feedback.of_answers(log_engine).items()
    assert response.json() == {"feedback_id": piece.id, "status": "quarantined", "request_id": "r0"}
    assert (key, piece.label, piece.rating, piece.note) == (("r0", 1), "refunds", 0.25, "call <PHONE_1>")
    assert piece.person and "Ann" not in piece.person


def test_the_same_said_again_is_known_and_another_person_is_another(logged_client, log_engine):
    assert say(logged_client, label="refunds", who="Ann").json()["status"] == "quarantined"
    assert say(logged_client, label="refunds", who="Ann").json()["status"] == "known"
    assert say(logged_client, label="refunds", who="Bob").json()["status"] == "quarantined"
    assert len({piece.person for piece in feedback.of_answers(log_engine)["r0", 0]}) == 2


def test_one_person_may_say_only_so_much_in_an_hour(logged_client):
    for number in range(3):
        assert say(logged_client, note=str(number), who="Ann").status_code == 200
    response = say(logged_client, note="more", who="Ann")
    assert "3 pieces of feedback in an hour" in error(response, 429, "rate_limited")
    assert response.headers["retry-after"] == "3600"
    assert say(logged_client, note="more", who="Bob").status_code == 200


@pytest.mark.parametrize("words", [{"request_id": "r9"}, {"position": 2}, {"request_id": "x" * 64}])
def test_feedback_on_an_answer_that_nobody_got_is_refused(logged_client, words):
    assert "the log has no answer" in error(say(logged_client, label="refunds", **words), 404, "not_found")


def test_an_answer_that_failed_has_no_feedback(logged_client, log_engine):
    served.write(log_engine, [served.answer("x", 5, error="deadline", label="")])
    error(say(logged_client, request_id="r5", rating=1.0), 404, "not_found")


@pytest.mark.parametrize("content", [b"nonsense" * 4096, None])
def test_while_the_database_is_damaged_or_deleted_nothing_is_acknowledged(logged_client, tmp_path, content):
    assert say(logged_client, note="before").status_code == 200
    for path in tmp_path.glob("serving.db*"):
        path.unlink()
    if content:
        (tmp_path / "serving.db").write_bytes(content)
    response = say(logged_client, label="refunds")
    assert "nothing was recorded" in error(response, 503, "unavailable")


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"label": None},
        {"label": ""},
        {"label": 3},
        {"label": "a\x00b"},
        {"label": "x" * 20001},
        {"rating": 1.5},
        {"rating": -1},
        {"rating": "good"},
        {"rating": True},
        {"position": -1, "rating": 1},
        {"position": 0.5, "rating": 1},
        {"request_id": "a b", "rating": 1},
        {"request_id": "", "rating": 1},
        {"rating": 1, "stars": 5},
    ],
)
def test_what_is_no_feedback_is_refused(logged_client, log_engine, words):
    error(say(logged_client, **words), 422, "invalid")
    assert feedback.of_answers(log_engine) == {}
