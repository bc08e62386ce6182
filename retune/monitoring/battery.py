"""All tests of drift on one window of what was served, against the reference of its version.

    labels, confidence, length, vectors, words that training never saw, languages

Benjamini and Hochberg keep the share of windows with a false alarm at the level, however many tests there are: where
nothing has changed, any shift at all is a false one. An alarm needs a test that sees a shift in two windows in a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from retune.monitoring import shift_tests
from retune.monitoring.shift_tests import ShiftTest

Verdict = Literal["shift", "no shift", "insufficient data"]
DRIFT, ONE_WINDOW, NO_DRIFT, INSUFFICIENT = "drift", "shift in one window", "no drift seen", "insufficient data"


@dataclass(frozen=True)
class Sample:
    """What is compared of a set of texts."""

    labels: Sequence[str]
    confidence: np.ndarray  # [texts]
    lengths: np.ndarray  # [texts], characters
    sketches: np.ndarray  # [texts with a vector, width]
    unknown: np.ndarray  # [texts whose words are there] of bool: has a word that training never saw
    foreign: np.ndarray  # [texts whose words are there] of bool: in another language than most of the reference
    lacks: dict[str, str] = field(default_factory=dict)  # name of a test -> why it cannot be made


@dataclass(frozen=True)
class Finding:
    test: ShiftTest
    q: float | None  # p, adjusted for the number of tests
    verdict: Verdict


def compare(reference: Sample, window: Sample, level: float) -> list[Finding]:
    """level: the share of windows that may show a shift where there is none."""
    tests = [
        shift_tests.label_shift(reference.labels, window.labels),
        shift_tests.distribution("confidence", reference.confidence, window.confidence, 3),
        shift_tests.distribution("length", reference.lengths, window.lengths, 0),
        shift_tests.vectors(reference.sketches, window.sketches),
        shift_tests.share("unknown words", reference.unknown, window.unknown),
        shift_tests.share("languages", reference.foreign, window.foreign),
    ]
    reasons = {**reference.lacks, **window.lacks}
    tests = [replace(test, lacks=reasons.get(test.name, test.lacks)) if test.lacks else test for test in tests]
    usable = [test for test in tests if test.p is not None]
    adjusted = iter(shift_tests.benjamini_hochberg([test.p for test in usable if test.p is not None]))
    return [_finding(test, next(adjusted) if test.p is not None else None, level) for test in tests]


def _finding(test: ShiftTest, q: float | None, level: float) -> Finding:
    if q is None:
        return Finding(test, None, "insufficient data")
    return Finding(test, q, "shift" if q <= level else "no shift")


def verdict(windows: Sequence[Sequence[Finding]]) -> tuple[str, list[str]]:
    """What the newest window says beside the one before, and the tests that say it. Oldest window first."""
    if not windows:
        return INSUFFICIENT, []
    now = [finding.test.name for finding in windows[-1] if finding.verdict == "shift"]
    before = {finding.test.name for finding in windows[-2] if finding.verdict == "shift"} if len(windows) > 1 else set()
    if twice := [name for name in now if name in before]:
        return DRIFT, twice
    if now:
        return ONE_WINDOW, now
    if all(finding.verdict == "insufficient data" for finding in windows[-1]):
        return INSUFFICIENT, []
    return NO_DRIFT, [finding.test.name for finding in windows[-1] if finding.verdict == "no shift"]
