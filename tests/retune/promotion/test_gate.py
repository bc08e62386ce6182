"""The three outcomes of a comparison, and the frames that are compared."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.errors import Refused
from retune.evaluation import statistics
from retune.promotion.gate import CANNOT_TELL, NOT_BETTER, WON, evaluate_gate
from tests.support.gate import ACCURACY, SECTION, answers, broken, outcomes, predictions


def test_the_first_model_becomes_champion_by_beating_the_base():
    decision = evaluate_gate(predictions(wrong=10), None, SECTION)
    assert decision.promote and not decision.worse
    (reason,) = decision.reasons
    assert reason.startswith("macro_f1 beats the base: gain +0.4")
    assert "on 120 rows" in reason
    assert decision.guardrails == ()


def test_a_model_no_better_than_the_base_is_held():
    decision = evaluate_gate(predictions(wrong=60), None, SECTION)
    assert not decision.promote
    assert outcomes(decision) == {"base": NOT_BETTER}
    assert "does not beat the base: gain +0.0000" in decision.reasons[0]


def test_a_better_candidate_takes_the_champions_place_and_a_worse_one_does_not():
    better, worse = predictions(wrong=5), predictions(wrong=30)
    assert evaluate_gate(better, worse, SECTION).promote
    decision = evaluate_gate(worse, better, SECTION)
    assert not decision.promote and decision.worse
    assert decision.rivals[1].significantly_worse and not decision.rivals[0].significantly_worse
    assert "macro_f1 is worse than that of the champion: gain -0.2" in decision.reasons[1]


def test_who_is_below_the_champion_is_worse_without_any_bound():
    section = replace(SECTION, max_label_recall_loss=1.0, max_slice_loss=1.0, calibration_error_rise=1.0)
    decision = evaluate_gate(predictions(wrong=30), predictions(wrong=5), section)
    assert decision.worse and broken(decision) == []
    assert not evaluate_gate(predictions(wrong=7), predictions(wrong=5), section).worse, "two rows prove nothing"


def test_a_tie_keeps_the_champion_and_makes_nobody_worse():
    decision = evaluate_gate(predictions(wrong=10), predictions(wrong=10), SECTION)
    assert not decision.promote and not decision.worse
    assert outcomes(decision) == {"base": WON, "champion": NOT_BETTER}
    assert decision.rivals[1].comparison.confidence == 0


def test_who_beats_the_champion_must_still_beat_the_base():
    decision = evaluate_gate(predictions(wrong=60), predictions(wrong=100), SECTION)
    assert not decision.promote
    assert outcomes(decision) == {"base": NOT_BETTER, "champion": WON}


def test_a_gain_within_the_margin_is_not_enough():
    candidate = predictions(wrong=10, base_wrong=60)
    gain = evaluate_gate(candidate, None, SECTION).rivals[0].comparison.gain
    assert not evaluate_gate(candidate, None, replace(SECTION, margin_over_base=gain + 0.01)).promote


def test_a_small_gain_is_not_sure_enough_until_less_is_asked():
    candidate, champion = predictions(wrong=8), predictions(wrong=10)
    assert not evaluate_gate(candidate, champion, replace(SECTION, confidence=0.99)).promote
    assert evaluate_gate(candidate, champion, replace(SECTION, confidence=0.7)).promote


def test_the_metric_is_the_one_asked_for():
    """Right on the many, wrong on the few: accuracy likes the candidate, macro-F1 the base."""
    truth = np.array(["bills"] * 90 + ["parcels"] * 10)
    base = np.where(np.arange(100) < 25, "parcels", truth)
    frame = pd.DataFrame({"id": range(100), "label": truth, "predicted": "bills", "base_predicted": base})
    assert evaluate_gate(frame, None, ACCURACY).promote
    assert not evaluate_gate(frame, None, SECTION).promote


def test_rows_too_few_for_the_difference_are_named_with_the_number_that_would_do():
    """Of 200 rows each model is right on 10 that the other is not: a gain of 0.02 may be there or not."""
    at = np.arange(200)
    decision = evaluate_gate(answers(at < 10), answers((at >= 10) & (at < 20)), ACCURACY)
    assert not decision.promote and not decision.worse
    assert outcomes(decision)["champion"] == CANNOT_TELL
    needed = decision.rivals[1].required_rows
    variance = 0.1 * (1 + 1 / np.sqrt(20))
    assert needed == pytest.approx((1.645 + 0.842) ** 2 * variance / 0.02**2, rel=0.15)
    assert decision.reasons[1].startswith(
        f"not enough rows to tell whether accuracy beats the champion: 200 rows, about {needed} needed to show a gain "
        "of 0.02 above the margin of 0 in 80% of cases; gain +0.0000 ["
    )


def test_enough_rows_that_show_no_gain_are_an_answer():
    at = np.arange(4000)
    decision = evaluate_gate(answers(at < 40), answers((at >= 40) & (at < 80)), ACCURACY)
    assert outcomes(decision)["champion"] == NOT_BETTER
    assert "does not beat the champion" in decision.reasons[1]


def test_few_rows_excuse_nobody_whose_best_is_below_the_difference():
    """On 100 rows, two more wrong than the champion: 344 rows are asked for, but a gain is out of the question."""
    decision = evaluate_gate(predictions(wrong=12, rows=100), predictions(wrong=10, rows=100), ACCURACY)
    assert decision.rivals[1].required_rows > 100
    assert outcomes(decision)["champion"] == NOT_BETTER
    assert "; 2 rows tell the two apart, it takes 5" in decision.reasons[1]


def test_three_rows_that_agree_are_no_proof_whatever_the_bootstrap_says():
    decision = evaluate_gate(answers(np.zeros(3, bool)), None, SECTION)
    assert decision.rivals[0].comparison.confidence == 1.0
    assert outcomes(decision) == {"base": CANNOT_TELL}
    assert outcomes(evaluate_gate(answers(np.zeros(8, bool)), None, SECTION)) == {"base": WON}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.sampled_from(["accuracy", "macro_f1"]))
def test_a_candidate_equal_to_the_champion_never_wins(wrong, metric):
    frame = answers(np.array(wrong))
    section = replace(SECTION, metric=metric, bootstrap=100)
    decision = evaluate_gate(frame, frame.copy(), section, champion_test_ids=frame["id"].head(3))
    assert not decision.promote and not decision.worse
    assert decision.rivals[1].outcome != WON


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_candidate_is_never_better_and_worse_than_the_same_champion(data):
    rows = data.draw(st.integers(1, 60))
    answers_a, answers_b = (
        answers(np.array(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))) for _ in range(2)
    )
    section = replace(SECTION, bootstrap=100)
    one, other = evaluate_gate(answers_a, answers_b, section), evaluate_gate(answers_b, answers_a, section)
    assert not (one.promote and other.promote)
    assert not (one.promote and one.worse)
    assert not (one.rivals[1].is_beaten and other.rivals[1].is_beaten)
    assert one.promote <= (other.rivals[1].outcome == NOT_BETTER)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_the_rows_named_tell_the_difference_in_the_share_of_cases_asked_for(metric):
    """A candidate truly 0.05 better: with the rows that each of three pilots named, it wins in 80% of draws or more."""
    rng = np.random.default_rng(5)
    section = replace(SECTION, metric=metric, min_detectable_gain=0.05, bootstrap=100, slices=[])

    def against(rows):
        draw = rng.random(rows)
        one, other = answers(draw < 0.05), answers((draw >= 0.05) & (draw < 0.15))
        return evaluate_gate(one, other, section).rivals[1]

    needed = [against(300).required_rows for _ in range(3)]
    assert all(300 < rows < 650 for rows in needed)
    won = [against(rows).is_beaten for rows in needed for _ in range(30)]
    assert np.mean(won) > 0.8 - 2 * np.sqrt(0.8 * 0.2 / len(won))
    assert np.mean([against(100).is_beaten for _ in range(30)]) < 0.6  # fewer rows would not have done


def test_the_fewest_rows_are_those_of_the_exact_sign_test():
    assert [statistics.min_discordant_rows(confidence) for confidence in (0.51, 0.75, 0.95, 0.99)] == [2, 2, 5, 7]


@pytest.mark.parametrize("change", ["order", "fewer", "labels"])
def test_candidate_and_champion_of_different_rows_are_not_compared(change):
    champion = predictions(wrong=5)
    other = {
        "order": champion[::-1].reset_index(drop=True),
        "fewer": champion.head(100),
        "labels": champion.assign(label=champion["label"].to_numpy()[::-1]),
    }[change]
    with pytest.raises(Refused, match="different rows"):
        evaluate_gate(predictions(wrong=5), other, SECTION)


def test_no_rows_are_refused_and_one_row_is_too_few():
    with pytest.raises(Refused, match="no test rows"):
        evaluate_gate(predictions(wrong=0).head(0), predictions(wrong=0).head(0), SECTION)
    decision = evaluate_gate(predictions(wrong=0, rows=1), predictions(wrong=1, rows=1), SECTION)
    assert outcomes(decision) == {"base": CANNOT_TELL, "champion": CANNOT_TELL}
    assert broken(evaluate_gate(predictions(wrong=1, rows=1), predictions(wrong=0, rows=1), SECTION)) == []


def test_the_same_frames_are_decided_alike_and_left_as_they_were():
    candidate, champion = predictions(wrong=8), predictions(wrong=10)
    before = candidate.copy(deep=True), champion.copy(deep=True)
    assert evaluate_gate(candidate, champion, SECTION) == evaluate_gate(candidate, champion, SECTION)
    assert candidate.equals(before[0])
    assert champion.equals(before[1])
