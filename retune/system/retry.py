"""The one retry policy: how often to try, how long to wait in between, and what `Retry-After` asks for.

A caller raises TransientError where another attempt may help, and any other error where it cannot:

    retry(lambda: fetch(url), RetryPolicy(attempts=3, pause_seconds=1, longest_pause_seconds=60), on_retry=log)
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

T = TypeVar("T")


class TransientError(Exception):
    """A failure that may pass by itself: no connection, a time-out, a cut answer, a busy server.

    retry_after: seconds that the server asks to wait; 0 if it asks for none.
    """

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True)
class RetryPolicy:
    attempts: int  # in all, the first included
    pause_seconds: float  # before the second attempt; twice as long before each further one
    longest_pause_seconds: float  # no pause is longer, whatever the server asks for

    def pause(self, attempt: int, retry_after: float) -> float:
        """Seconds to wait after attempt number `attempt`, which counts from 1."""
        return min(max(self.pause_seconds * 2.0 ** (attempt - 1), retry_after), self.longest_pause_seconds)


def retry(
    action: Callable[[], T],
    policy: RetryPolicy,
    on_retry: Callable[[str], None],
    sleep: Callable[[float], None] | None = None,
) -> T:
    """The result of `action`. Raises the last TransientError after the last attempt, any other error at once.

    on_retry: gets a sentence before each pause. sleep: `time.sleep` if None; tests pass their own.
    """
    for attempt in range(1, policy.attempts):
        try:
            return action()
        except TransientError as error:
            pause = policy.pause(attempt, error.retry_after)
            on_retry(f"{error}; attempt {attempt + 1} of {policy.attempts} in {pause:.3g} s")
        (sleep or time.sleep)(pause)
    return action()


def retry_after_seconds(header: str | None) -> float:
    """The value of an HTTP header `Retry-After`, seconds or a date (RFC 9110, 10.2.3), in seconds from now.

    0 if there is none or it is neither.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
