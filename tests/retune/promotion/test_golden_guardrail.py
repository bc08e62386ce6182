"""A golden case that fails holds the candidate, by name, with or without a champion."""

import pytest

from retune.promotion import golden_guardrail
from retune.promotion.gate import evaluate_gate
from retune.promotion.gate_record import as_record, own_guardrails
from tests.support.gate import SECTION, broken, predictions

FAILED = {"golden": [{"name": "lost parcel", "problem": "'a' expected, not 'b'"}, {"name": "bill", "problem": ""}]}


@pytest.mark.parametrize("champion", [None, predictions(wrong=30)])
def test_a_candidate_that_fails_one_is_held_by_name_and_is_not_worse(champion):
    better = predictions(wrong=5)
    assert evaluate_gate(better, champion, SECTION).promote
    decision = evaluate_gate(better, champion, SECTION, of_candidate=own_guardrails(FAILED, SECTION))
    assert not decision.promote and not decision.worse
    assert decision.reasons[-1] == "fails 1 of 2 golden cases, which must never go wrong: 'lost parcel'"
    assert broken(decision) == [("golden", "lost parcel")]
    bounds = as_record(decision, SECTION, None)["bounds"]
    assert [bound["name"] for bound in bounds if bound["broken"]] == ["lost parcel"]


def test_a_candidate_that_passes_all_is_promoted_and_the_reasons_say_so():
    passed = own_guardrails({"golden": [{"name": name, "problem": ""} for name in "ab"]}, SECTION)
    decision = evaluate_gate(predictions(wrong=5), None, SECTION, of_candidate=passed)
    assert decision.promote and decision.reasons[-1] == "all 2 golden cases pass"


def test_a_version_of_an_earlier_release_has_the_reasons_that_it_had():
    assert own_guardrails({"labels": []}, SECTION) == ((), ())
    plain = evaluate_gate(predictions(wrong=5), predictions(wrong=30), SECTION)
    assert (
        evaluate_gate(predictions(wrong=5), predictions(wrong=30), SECTION, of_candidate=own_guardrails({}, SECTION))
        == plain
    )


def test_of_many_failed_cases_the_reason_names_some_and_the_record_holds_all():
    guardrails, (reason,) = golden_guardrail.check([{"name": f"c{n}", "problem": "no"} for n in range(12)])
    assert len(guardrails) == 12 and "'c9' and 2 more" in reason and "c10" not in reason
