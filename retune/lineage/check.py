"""One thing that was computed again now, beside what was recorded of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    name: str
    expected: str  # as recorded
    found: str  # as computed now; `missing` where there is nothing
    ok: bool
