import pytest
from sqlalchemy import select

from retune.serving.outcomes import OUTCOMES
from tests.tasks.serve.test_app import error, post


def tell(logged_client, **words):
    return post(logged_client, {"request_id": "r0", "name": "minutes", "number": 12.5, **words}, "/v1/outcome")


def rows(log_engine):
    with log_engine.connect() as connection:
        return {(row.request_id, row.name): row.value for row in connection.execute(select(OUTCOMES))}


def test_the_last_number_of_a_request_and_name_counts(logged_client, log_engine):
    assert tell(logged_client).json() == {"status": "recorded", "request_id": "r0"}
    tell(logged_client, name="resolved", number=1)
    tell(logged_client, number=3)
    assert rows(log_engine) == {("r0", "minutes"): 3.0, ("r0", "resolved"): 1.0}


@pytest.mark.parametrize(
    "words", [{"number": "3"}, {"number": None}, {"number": True}, {"name": ""}, {"name": "a b"}, {"value": 3}]
)
def test_what_is_no_outcome_is_refused(logged_client, log_engine, words):
    error(tell(logged_client, **words), 422, "invalid")
    assert rows(log_engine) == {}


def test_a_number_that_is_none_is_refused(logged_client):
    body = b'{"request_id": "r0", "name": "minutes", "number": NaN}'
    assert post(logged_client, body, "/v1/outcome").status_code == 422


def test_an_outcome_of_a_request_that_nobody_made_is_refused(logged_client):
    assert "the log has no answer" in error(tell(logged_client, request_id="r9"), 404, "not_found")
