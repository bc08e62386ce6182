from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tasks.core.errors import Refused
from tasks.core.gate import decide
from tasks.core.params import Promote

SECTION = Promote(
    metric="macro_f1", margin_over_base=0.01, margin_over_champion=0.0, confidence=0.95, bootstrap=200, seed=17
)
LABELS = np.array(["bills", "parcels", "repairs"])


def said(wrong, base_wrong=60, rows=120):
    """Predictions that are wrong in the first `wrong` rows, beside a base that is wrong in the first `base_wrong`."""
    truth = np.arange(rows) % 3
    answers = {"predicted": wrong, "base_predicted": base_wrong}
    columns = {name: LABELS[(truth + (np.arange(rows) < count)) % 3] for name, count in answers.items()}
    return pd.DataFrame({"id": [f"r{n}" for n in range(rows)], "label": LABELS[truth], **columns})


def test_the_first_model_becomes_champion_by_beating_the_base():
    decision = decide(said(wrong=10), None, SECTION)
    assert decision.promote
    (reason,) = decision.reasons
    assert reason.startswith("macro_f1 beats the base: gain +0.4")
    assert "on 120 rows" in reason


def test_a_model_no_better_than_the_base_is_held():
    decision = decide(said(wrong=60), None, SECTION)
    assert not decision.promote
    assert "does not beat the base: gain +0.0000" in decision.reasons[0]


def test_a_better_candidate_takes_the_champions_place_and_a_worse_one_does_not():
    better, worse = said(wrong=5), said(wrong=30)
    assert decide(better, worse, SECTION).promote
    assert not decide(worse, better, SECTION).promote


def test_a_tie_keeps_the_champion():
    decision = decide(said(wrong=10), said(wrong=10), SECTION)
    assert not decision.promote
    assert [rival.won for rival in decision.rivals] == [True, False]
    assert decision.rivals[1].found.confidence == 0


def test_who_beats_the_champion_must_still_beat_the_base():
    decision = decide(said(wrong=60), said(wrong=100), SECTION)
    assert not decision.promote
    assert [rival.won for rival in decision.rivals] == [False, True]


def test_a_gain_within_the_margin_is_not_enough():
    candidate = said(wrong=10, base_wrong=60)
    gain = decide(candidate, None, SECTION).rivals[0].found.gain
    assert not decide(candidate, None, replace(SECTION, margin_over_base=gain + 0.01)).promote


def test_a_small_gain_is_not_sure_enough_until_less_is_asked():
    candidate, champion = said(wrong=9), said(wrong=10)
    assert not decide(candidate, champion, replace(SECTION, confidence=0.99)).promote
    assert decide(candidate, champion, replace(SECTION, confidence=0.51)).promote


def test_the_metric_is_the_one_asked_for():
    """Right on the many, wrong on the few: accuracy likes the candidate, macro-F1 the base."""
    truth = np.array(["bills"] * 90 + ["parcels"] * 10)
    base = np.where(np.arange(100) < 25, "parcels", truth)
    frame = pd.DataFrame({"id": range(100), "label": truth, "predicted": "bills", "base_predicted": base})
    assert decide(frame, None, replace(SECTION, metric="accuracy")).promote
    assert not decide(frame, None, SECTION).promote


@pytest.mark.parametrize("change", ["order", "fewer", "labels"])
def test_candidate_and_champion_of_different_rows_are_not_compared(change):
    champion = said(wrong=5)
    other = {
        "order": champion[::-1].reset_index(drop=True),
        "fewer": champion.head(100),
        "labels": champion.assign(label=champion["label"].to_numpy()[::-1]),
    }[change]
    with pytest.raises(Refused, match="different rows"):
        decide(said(wrong=5), other, SECTION)


def test_the_same_frames_are_decided_alike_and_left_as_they_were():
    candidate, champion = said(wrong=8), said(wrong=10)
    before = candidate.copy(deep=True), champion.copy(deep=True)
    assert decide(candidate, champion, SECTION) == decide(candidate, champion, SECTION)
    assert candidate.equals(before[0])
    assert champion.equals(before[1])
