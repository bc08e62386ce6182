from dataclasses import replace

import numpy as np
import pytest

from retune.monitoring import battery
from retune.monitoring.battery import Finding, Sample
from retune.monitoring.shift_tests import ShiftTest

draw = np.random.default_rng(3)


def sample(texts=300):
    return Sample(
        [str(label) for label in draw.integers(0, 4, texts)],
        draw.beta(8, 2, texts),
        draw.integers(10, 200, texts),
        draw.standard_normal((texts, 32)).astype(np.float32),
        draw.random(texts) < 0.2,
        draw.random(texts) < 0.05,
    )


REFERENCE = sample(400)


def verdicts(findings):
    return {finding.test.name: finding.verdict for finding in findings}


def test_a_window_like_the_reference_shows_no_shift_and_each_test_says_so():
    findings = battery.compare(REFERENCE, sample(), 0.01)
    assert verdicts(findings) == dict.fromkeys(
        ("labels", "confidence", "length", "vectors", "unknown words", "languages"), "no shift"
    )


def test_what_has_shifted_is_named_and_the_rest_is_not():
    window = replace(sample(), confidence=draw.beta(4, 2, 300), foreign=draw.random(300) < 0.3)
    shifted = [
        name for name, verdict in verdicts(battery.compare(REFERENCE, window, 0.01)).items() if verdict == "shift"
    ]
    assert shifted == ["confidence", "languages"]


def test_what_cannot_be_tested_says_why_and_costs_the_others_nothing():
    empty = np.array([], dtype=bool)
    window = replace(sample(), unknown=empty, lacks={"unknown words": "serve.log.text keeps no text"})
    findings = battery.compare(REFERENCE, window, 0.01)
    unknown = next(finding for finding in findings if finding.test.name == "unknown words")
    assert (unknown.verdict, unknown.q, unknown.test.lacks) == (
        "insufficient data",
        None,
        "serve.log.text keeps no text",
    )
    adjusted = [finding.q / finding.test.p for finding in findings if finding.q]
    assert max(adjusted) <= 5, "five tests were made"


def findings(**tests):
    return [Finding(ShiftTest(name, "x"), None, verdict) for name, verdict in tests.items()]


@pytest.mark.parametrize(
    ("windows", "verdict", "tests"),
    [
        ([findings(a="shift", b="shift"), findings(a="shift", b="no shift")], battery.DRIFT, ["a"]),
        ([findings(a="shift", b="no shift"), findings(a="no shift", b="shift")], battery.ONE_WINDOW, ["b"]),
        ([findings(a="shift")], battery.ONE_WINDOW, ["a"]),
        ([findings(a="shift"), findings(a="no shift")], battery.NO_DRIFT, ["a"]),
        ([findings(a="shift"), findings(a="insufficient data")], battery.INSUFFICIENT, []),
        ([findings(a="no shift", b="insufficient data")], battery.NO_DRIFT, ["a"]),
        ([], battery.INSUFFICIENT, []),
    ],
)
def test_an_alarm_needs_the_same_test_in_two_windows_in_a_row(windows, verdict, tests):
    assert battery.verdict(windows) == (verdict, tests)
