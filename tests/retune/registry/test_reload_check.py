"""Whether a version says again what was recorded of it."""

import numpy as np
import pandas as pd
import pytest

from retune.errors import Refused
from retune.registry import reload_check, versions

VERSION = versions.Version("classifier", 3, "run", "2026-01-01", (), {})


def frames(ours, reloaded, labels=("a", "b", "a"), again=("a", "b", "a")):
    return (
        pd.DataFrame({"predicted": labels, "confidence": ours}),
        pd.DataFrame({"label": again, "confidence": reloaded}),
    )


def test_the_distance_is_the_largest_difference_in_confidence():
    assert reload_check.largest_distance(*frames([0.5, 0.6, 0.7], [0.5, 0.65, 0.69])) == pytest.approx(0.05)
    assert reload_check.largest_distance(*frames([0.5, 0.6, 0.7], [0.5, 0.6, 0.7])) == 0


def test_one_other_label_is_as_far_as_can_be():
    assert reload_check.largest_distance(*frames([0.5] * 3, [0.5] * 3, again=("a", "a", "a"))) == 1
    assert reload_check.largest_distance(*frames([0.5] * 3, [0.5] * 2, again=("a", "b"))) == 1


def test_what_came_near_enough_is_told_in_words():
    sentence = reload_check.agreement(VERSION, *frames([0.5, 0.6, 0.7], [0.5, 0.6, 0.70005]), None, tolerance=1e-4)
    assert sentence == "3 test rows, confidence off by 5e-05 at most"


@pytest.mark.parametrize("confidence", [0.71, np.nan])
def test_what_did_not_is_refused(confidence):
    with pytest.raises(Refused, match=r"classifier/3 says something else.*No alias was moved"):
        reload_check.agreement(VERSION, *frames([0.5, 0.6, 0.7], [0.5, 0.6, confidence]), None, tolerance=1e-4)
