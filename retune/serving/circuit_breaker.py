"""Whether an arm is asked: not while it fails again and again.

closed ── `failures` in a row, or `rate` of the last `window` ──> open
open ── `open_seconds` later ──> half-open: one request tries it
half-open ── it answers ──> closed;  it fails ──> open
"""

import time
from collections import deque
from collections.abc import Callable

from retune.config.rollout import Breaker

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half-open"


class CircuitBreaker:
    """After each `allows` that said yes, one of `succeed`, `fail` and `release` must follow."""

    def __init__(self, settings: Breaker, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._in_a_row = 0
        self._last: deque[bool] = deque(maxlen=settings.window)
        self._opened: float | None = None
        self._trial = False  # a request tries a half-open arm
        self.openings = 0

    @property
    def state(self) -> str:
        if self._opened is None:
            return CLOSED
        return HALF_OPEN if self._clock() - self._opened >= self._settings.open_seconds else OPEN

    def allows(self) -> bool:
        state = self.state
        if state == HALF_OPEN and not self._trial:
            self._trial = True
            return True
        return state == CLOSED

    def succeed(self) -> None:
        if self._opened is not None:
            if self._trial:
                self._opened = None
                self._last.clear()
            self._trial = False
        self._in_a_row = 0
        self._last.append(True)

    def fail(self) -> None:
        self._in_a_row += 1
        self._last.append(False)
        rate = self._last.count(False) / self._settings.window
        if self._trial or self._in_a_row >= self._settings.failures or rate >= self._settings.rate:
            self._open()

    def release(self) -> None:
        """The request says nothing about the arm: its caller has gone, or the arm had no room for it."""
        self._trial = False

    def _open(self) -> None:
        if self._opened is None or self._trial:
            self.openings += 1
            self._opened = self._clock()
        self._trial, self._in_a_row = False, 0
        self._last.clear()
