from dataclasses import replace

from retune.promotion.gate import evaluate_gate
from retune.promotion.gate_record import own_guardrails
from tests.support.gate import SECTION, broken, predictions

BOUND = replace(SECTION, max_membership_auc=0.6)


def measured(value, low):
    return {"measures": {"membership_auc_calibrated": {"title": "", "value": value, "low": low, "high": 0.9, "n": 400}}}


def decided(details, config):
    return evaluate_gate(predictions(wrong=2), None, config, of_candidate=own_guardrails(details, config))


def test_a_model_that_surely_gives_its_rows_away_is_held_the_first_one_too():
    decision = decided(measured(0.8, 0.7), BOUND)
    assert broken(decision) == [("membership", "membership_auc_calibrated")]
    assert not decision.promote and not decision.worse
    assert decision.reasons[-1] == (
        "membership inference, AUC 0.8000 [0.7000, 0.9000] on 400 rows, surely above the bound of 0.6"
    )


def test_one_that_may_be_within_the_bound_passes_and_the_reasons_say_so():
    decision = decided(measured(0.65, 0.58), BOUND)
    assert decision.promote and "not surely above the bound of 0.6" in decision.reasons[-1]


def test_without_a_bound_no_word_changes_and_with_one_a_missing_measure_is_told():
    assert decided(measured(0.99, 0.98), SECTION) == decided({}, SECTION)
    assert "was not measured" in decided({}, BOUND).reasons[-1]
