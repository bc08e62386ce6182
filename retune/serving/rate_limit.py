"""How often a caller may ask: a number of requests a minute, spent at once or evenly.

The generic cell rate algorithm (ITU-T I.371): one number a caller says when its allowance is whole again.
"""

import time
from collections.abc import Callable

MINUTE = 60.0
CALLERS = 10_000  # beyond them, those whose allowance is whole are forgotten


class RateLimit:
    """per_minute: requests; 0 allows any number."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._cost = MINUTE / per_minute if per_minute else 0.0  # of one request, in seconds
        self._whole_at: dict[str, float] = {}

    def wait(self, caller: str) -> float:
        """Seconds until this caller may ask again. 0: now, and this request counts."""
        if not self._cost:
            return 0.0
        now = self._clock()
        whole_at = max(self._whole_at.get(caller, now), now) + self._cost
        if whole_at - now > MINUTE + 1e-9:
            return whole_at - now - MINUTE
        self._whole_at[caller] = whole_at
        if len(self._whole_at) > CALLERS:
            self._whole_at = {name: at for name, at in self._whole_at.items() if at > now}
        return 0.0
