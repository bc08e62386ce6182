from dataclasses import replace

import numpy as np

from retune.promotion import robustness_guardrail
from retune.promotion.gate import evaluate_gate
from tests.support.gate import SECTION, broken, predictions

BOUND = replace(SECTION, max_robustness_loss=0.05)


def changed(wrong_after, rows=100):
    """Predictions with few mistakes, wrong in so many of the rows that typing errors changed."""
    after = np.where(np.arange(120) < wrong_after, 0.0, 1.0)
    return predictions(wrong=2).assign(robust_typos=np.where(np.arange(120) < rows, after, np.nan))


def test_a_candidate_that_breaks_on_typing_errors_is_held_by_the_kind_of_change():
    decision = evaluate_gate(changed(40), predictions(wrong=30).assign(robust_typos=changed(5)["robust_typos"]), BOUND)
    assert broken(decision) == [("robustness", "typos")]
    assert not decision.promote and decision.worse
    (reason,) = [each for each in decision.reasons if "robustness" in each]
    assert reason == (
        "robustness typos -0.3500 on 100 rows that were changed, against the champion; the bound is -0.05"
    )


def test_without_a_bound_the_loss_is_recorded_and_no_word_changes():
    champion = predictions(wrong=30)
    with_columns = evaluate_gate(changed(40), champion.assign(robust_typos=changed(5)["robust_typos"]), SECTION)
    without = evaluate_gate(changed(40).drop(columns="robust_typos"), champion, SECTION)
    assert with_columns.promote and with_columns.reasons == without.reasons
    assert [(each.kind, round(each.loss, 2)) for each in with_columns.guardrails if each.kind == "robustness"] == [
        ("robustness", 0.35)
    ]


def test_within_the_bound_the_reasons_say_so_and_rows_that_no_one_was_asked_count_for_nothing():
    guardrails, reasons = robustness_guardrail.check(changed(6), changed(5), BOUND)
    assert [each.rows for each in guardrails] == [100] and "not surely worse" in reasons[0]
    assert robustness_guardrail.check(changed(6, rows=0), changed(5), BOUND) == ((), ())
    assert robustness_guardrail.check(changed(6), predictions(wrong=2), BOUND) == ((), ())
