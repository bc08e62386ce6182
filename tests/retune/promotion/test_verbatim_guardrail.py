from dataclasses import replace

import pytest
import yaml

from retune.config import params
from retune.promotion.gate_record import own_guardrails
from tests.support.environment import ROOT

SHIPPED = params.parse(yaml.safe_load((ROOT / "retune/config/defaults/instruct.yaml").read_text("utf-8"))).promote
BOUND = replace(SHIPPED, max_verbatim_share=0.05)


def measure(value, low, high, n=100):
    return {"title": "", "value": value, "low": low, "high": high, "n": n}


def details(**changes):
    usual = {"verbatim_share": measure(0.0, 0.0, 0.04), "verbatim_share_from_half": measure(0.3, 0.2, 0.4)}
    return {"measures": {**usual, **changes}}


def test_a_model_that_surely_gives_answers_back_is_held_from_the_prompt_or_from_half():
    guardrails, reasons = own_guardrails(details(), BOUND)
    assert [(each.kind, each.name, each.violated) for each in guardrails] == [
        ("verbatim", "verbatim_share", False),
        ("verbatim", "verbatim_share_from_half", True),
    ]
    assert reasons[1] == (
        "given back word for word from half of the answer: 0.3000 [0.2000, 0.4000] of 100 learned answers, surely "
        "above the bound of 0.05"
    )


def test_what_it_writes_of_rows_never_seen_too_is_no_memory():
    alike = details(verbatim_share_from_half_held_out=measure(0.28, 0.18, 0.38, 90))
    guardrails, reasons = own_guardrails(alike, BOUND)
    assert not any(each.violated for each in guardrails)
    assert "of 100 learned answers, 0.2800 of 90 never seen, not surely above" in reasons[1]


@pytest.mark.parametrize("measures", [{}, {"measures": {}}])
def test_without_a_bound_no_word_changes_and_with_one_a_missing_measure_is_named(measures):
    assert own_guardrails(details(), SHIPPED) == ((), ())
    _, reasons = own_guardrails(measures, BOUND)
    assert len(reasons) == 2 and "no learned answer was long enough" in reasons[0]
