from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from retune.system.retry import RetryPolicy, TransientError, retry, retry_after_seconds

POLICY = RetryPolicy(attempts=4, pause_seconds=1.0, longest_pause_seconds=3.0)


class Server:
    """Fails with each error in turn, then answers."""

    def __init__(self, *errors):
        self.errors, self.calls = list(errors), 0

    def answer(self):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def test_a_transient_failure_is_tried_again_after_pauses_that_double_up_to_the_longest():
    server, pauses, messages = Server(*[TransientError("busy")] * 3), [], []
    assert retry(server.answer, POLICY, messages.append, pauses.append) == "answer"
    assert pauses == [1.0, 2.0, 3.0]
    assert messages[0] == "busy; attempt 2 of 4 in 1 s"


def test_the_last_transient_failure_is_raised_after_the_last_attempt():
    server, pauses = Server(*[TransientError(f"busy {number}") for number in range(9)]), []
    with pytest.raises(TransientError, match="busy 3"):
        retry(server.answer, POLICY, lambda _: None, pauses.append)
    assert (server.calls, len(pauses)) == (4, 3)


def test_another_failure_is_raised_at_once():
    server = Server(ValueError("wrong"))
    with pytest.raises(ValueError, match="wrong"):
        retry(server.answer, POLICY, lambda _: None, lambda _: None)
    assert server.calls == 1


def test_the_server_may_ask_for_a_longer_pause_but_not_for_one_above_the_longest():
    server, pauses = Server(TransientError("busy", 2.5), TransientError("busy", 3600.0)), []
    retry(server.answer, POLICY, lambda _: None, pauses.append)
    assert pauses == [2.5, 3.0]


def test_retry_after_is_read_as_seconds_or_as_a_date():
    assert retry_after_seconds("7") == 7.0
    assert retry_after_seconds(None) == retry_after_seconds("soon") == retry_after_seconds("-3") == 0.0
    moment = datetime.now(UTC) + timedelta(seconds=30)
    assert 25 < retry_after_seconds(format_datetime(moment)) <= 30
    assert retry_after_seconds(format_datetime(moment - timedelta(hours=1))) == 0.0
