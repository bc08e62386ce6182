"""Bounds on labels, slices, calibration and latency."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.promotion import latency
from retune.promotion.gate import WON, evaluate_gate, with_latency
from retune.promotion.gate_record import as_record
from retune.promotion.latency import Latency
from tests.support.gate import SECTION, answers, broken, outcomes, predictions


def test_a_big_label_that_lost_more_than_the_bound_holds_a_candidate_that_wins():
    at = np.arange(300)
    bills, others = at % 3 == 0, at % 3 != 0
    champion = answers(others & (at < 150))
    candidate = answers(bills & (at < 60))  # 20 of 100 bills lost, 100 others won
    decision = evaluate_gate(candidate, champion, SECTION)
    assert outcomes(decision) == {"base": WON, "champion": WON}
    assert broken(decision) == [("label", "bills")]
    assert not decision.promote and decision.worse
    assert any(reason.startswith("label bills -0.2000 on 100 rows against the champion") for reason in decision.reasons)
    assert evaluate_gate(candidate, champion, replace(SECTION, max_label_recall_loss=1.0)).promote


@settings(max_examples=40, deadline=None)
@given(st.integers(10, 40), st.integers(0, 200))
def test_no_candidate_wins_that_lost_a_big_label_beyond_the_bound(lost_rows, others_won):
    at = np.arange(300)
    bills = at % 3 == 0
    gained = np.isin(at, at[~bills][:others_won])
    candidate, champion = answers(bills & (at < 3 * lost_rows)), answers(gained)
    decision = evaluate_gate(
        candidate, champion, replace(SECTION, bootstrap=100, max_label_recall_loss=lost_rows / 400)
    )
    assert not decision.promote and decision.worse


def test_a_small_label_holds_nobody_by_chance():
    """One row of a label of four, lost: 25 points, and no news."""
    at = np.arange(120)
    candidate, champion = predictions(wrong=5), predictions(wrong=40)
    for frame in (candidate, champion):
        frame.loc[at >= 116, "label"] = "rare"
        frame.loc[at >= 116, "predicted"] = "rare"
    candidate.loc[116, "predicted"] = "bills"
    decision = evaluate_gate(candidate, champion, SECTION)
    (rare,) = [bound for bound in decision.guardrails if bound.name == "rare"]
    assert (rare.rows, rare.loss, rare.violated) == (4, 0.25, False)
    assert decision.promote
    assert (
        "no label and no slice is surely worse than the champion beyond its bound; lowest: label rare -0.2500"
        in " ".join(decision.reasons)
    )


def with_repairs(lost_rows, won, rows):
    """Candidate and champion who differ on the label `repairs` alone, of which there are `rows`."""
    label = np.array(["bills"] * 100 + ["repairs"] * rows)
    at = np.arange(len(label)) - 100
    frame = {"id": range(len(label)), "label": label, "base_predicted": "none", "confidence": 0.9, "source": "desk"}
    answered = [(at >= 0) & (at < lost_rows), (at >= lost_rows) & (at < lost_rows + won)]
    return [pd.DataFrame(frame | {"predicted": np.where(wrong, "none", label)}) for wrong in answered]


@pytest.mark.parametrize(
    ("lost_rows", "won", "rows", "sure"),
    [
        (4, 0, 4, False),  # every resample says so, and by chance one case in sixteen would
        (6, 0, 6, True),
        (6, 4, 30, False),  # seven points, as it happens
        (8, 0, 100, False),  # surely lost, not surely beyond five points
        (12, 0, 30, True),
        (3, 0, 60, False),  # the bound itself
    ],
)
def test_a_label_is_worse_only_if_it_surely_is(lost_rows, won, rows, sure):
    guardrails = evaluate_gate(*with_repairs(lost_rows, won, rows), SECTION).guardrails
    repairs = next(bound for bound in guardrails if bound.name == "repairs")
    assert (repairs.loss, repairs.violated) == (pytest.approx((lost_rows - won) / rows), sure)


def test_a_champion_is_not_displaced_by_who_wins_on_new_rows_alone_and_loses_on_the_known():
    """New rows are poisoned in the way that the candidate has learned: it wins on all of those, and pays for it."""
    at = np.arange(400)
    old = at < 300
    candidate, champion = answers(old & (at % 10 == 0)), answers(~old)
    decision = evaluate_gate(candidate, champion, SECTION, "m/1", champion_test_ids=set(candidate["id"][:300]))
    assert outcomes(decision)["champion"] == WON
    assert ("slice", "known") in broken(decision)
    assert not decision.promote and decision.worse
    new = next(bound for bound in decision.guardrails if bound.name == "new")
    assert (new.rows, new.loss) == (100, -1.0)


def test_a_source_that_lost_is_named():
    at = np.arange(400)
    candidate, champion = answers((at % 2 == 1) & (at < 80)), answers((at % 2 == 0) & (at < 300))
    decision = evaluate_gate(candidate, champion, replace(SECTION, max_label_recall_loss=1.0))
    assert broken(decision) == [("slice", "source shop")]
    assert not decision.promote


def test_slices_that_are_not_asked_for_are_not_looked_at():
    frame = predictions(wrong=5).drop(columns="source")
    decision = evaluate_gate(frame, predictions(wrong=30), replace(SECTION, slices=[]))
    assert decision.promote
    assert {bound.kind for bound in decision.guardrails} == {"label", "calibration"}


@pytest.mark.parametrize(
    ("known_ids", "names", "expected"),
    [
        (None, ["known"], "not kept any more: all rows count as known"),
        ([], ["new"], "tested on none of these rows: all are new"),
        (["r0"], ["known", "new"], None),
        ([f"r{n}" for n in range(120)], ["known"], None),
        (["gone-1", "r5"], ["known", "new"], None),
    ],
)
def test_known_and_new_rows_are_told_apart(known_ids, names, expected):
    decision = evaluate_gate(predictions(wrong=5), predictions(wrong=30), SECTION, champion_test_ids=known_ids)
    bounds = [
        bound.name for bound in decision.guardrails if bound.kind == "slice" and not bound.name.startswith("source")
    ]
    assert bounds == names
    assert (
        any(expected in reason for reason in decision.reasons)
        if expected
        else not any(" tested " in r for r in decision.reasons)
    )
    assert decision.promote


def test_many_broken_bounds_make_few_lines():
    labels = np.repeat([f"l{n:02}" for n in range(40)], 30)
    frame = {"id": range(1200), "label": labels, "base_predicted": "none", "confidence": 0.5, "source": "desk"}
    losses = pd.DataFrame(frame | {"predicted": np.where(np.arange(1200) % 2, labels, "none")})
    decision = evaluate_gate(losses, pd.DataFrame(frame | {"predicted": labels}), SECTION)
    assert len(broken(decision)) == 42
    assert len(decision.reasons) <= 8
    assert "and 39 more labels or slices beyond their bound" in decision.reasons


def test_a_label_that_the_champion_never_knew_is_a_label_that_it_got_wrong():
    candidate, champion = predictions(wrong=5), predictions(wrong=30)
    rows = candidate.index >= 90
    for frame in (candidate, champion):
        frame.loc[rows, "label"] = "returns"
    candidate.loc[rows, "predicted"] = "returns"
    champion["predicted"] = champion["predicted"].replace("repairs", "a label that is no more")
    decision = evaluate_gate(candidate, champion, SECTION)
    assert decision.promote
    assert next(bound for bound in decision.guardrails if bound.name == "returns").loss == -1


def test_a_candidate_that_is_sure_and_wrong_is_held():
    champion = predictions(wrong=30).assign(confidence=0.75)
    candidate = predictions(wrong=5).assign(confidence=0.99)
    assert evaluate_gate(candidate, champion, SECTION).promote
    decision = evaluate_gate(candidate.assign(confidence=0.5), champion, SECTION)
    assert broken(decision) == [("calibration", "error")]
    assert decision.worse and not decision.promote
    assert "calibration error +0.4583 against the champion, surely above the bound of +0.05" in decision.reasons
    assert evaluate_gate(
        candidate.assign(confidence=0.5), champion, replace(SECTION, calibration_error_rise=1.0)
    ).promote


@pytest.mark.filterwarnings("error")
def test_a_confidence_that_is_no_number_holds_the_candidate_and_excuses_the_champion():
    candidate, champion = predictions(wrong=5), predictions(wrong=30)
    for wrong in (np.nan, np.inf, -0.1, 1.5):
        decision = evaluate_gate(candidate.assign(confidence=[wrong, *[0.9] * 119]), champion, SECTION)
        assert not decision.promote and decision.worse
        assert "the confidence of the candidate is no number from 0 to 1 in 1 of 120 rows" in decision.reasons
        decision = evaluate_gate(candidate, champion.assign(confidence=wrong), SECTION)
        assert decision.promote
        assert "the confidence of the champion is no number from 0 to 1 in 120 of 120 rows" in decision.reasons


LATENCY = Latency(candidate=4.0, champion=2.0, ratio=2.0, texts=32, passes=5)  # of an old record
OLD_KEYS = {"candidate", "champion", "ratio", "texts", "passes"}


def test_a_slow_candidate_is_held_and_not_called_worse():
    yes = evaluate_gate(predictions(wrong=5), predictions(wrong=30), SECTION)
    no = with_latency(yes, LATENCY, SECTION)
    assert yes.promote and not no.promote and not no.worse
    assert no.latency == LATENCY
    assert no.reasons[-1] == (
        "4 ms a text, the champion 2: ratio 2.00, above the bound of 1.5 (median of 5 passes over 32 texts)"
    )
    assert not with_latency(yes, replace(LATENCY, ratio=float("nan")), SECTION).promote


def test_the_reason_names_the_knob_and_of_what_the_time_is():
    yes = evaluate_gate(predictions(wrong=5), predictions(wrong=30), SECTION)
    text = with_latency(yes, replace(LATENCY, per="text"), SECTION)
    assert text.reasons[-1].startswith("4 ms a text, the champion 2: ratio 2.00, above the bound of 1.5 (promote.late")
    wrote = replace(LATENCY, ratio=0.66, per="token", candidate_tokens=32 * 246, champion_tokens=32 * 48)
    token = with_latency(yes, wrote, SECTION)
    assert token.promote
    assert token.reasons[-1] == (
        "4 ms a token written (246 tokens a text), the champion 2 (48): ratio 0.66 (3.38 a text), within the bound "
        "of 1.5 (promote.latency_ratio; median of 5 passes over 32 texts)"
    )
    stored = as_record(token, SECTION, None)["latency"]
    assert latency.parse(stored) == wrote
    assert set(as_record(with_latency(yes, LATENCY, SECTION), SECTION, None)["latency"]) == OLD_KEYS, "as it was"


def test_a_model_that_writes_is_slow_if_it_is_so_by_the_token_and_by_the_text():
    yes = evaluate_gate(predictions(wrong=5), predictions(wrong=30), SECTION)

    def promoted(ratio, tokens):
        wrote = replace(LATENCY, ratio=ratio, per="token", candidate_tokens=tokens, champion_tokens=100)
        return with_latency(yes, wrote, SECTION).promote

    assert promoted(1.0, 400), "it is no slower, only longer"
    assert promoted(2.0, 20), "it is brief, and what it takes is to read the prompt"
    assert not promoted(2.0, 100)
    assert not promoted(2.0, 400)


def test_a_quick_candidate_is_promoted_only_if_it_was_to_be():
    quick = replace(LATENCY, candidate=2.0, ratio=1.0)
    yes, no = (evaluate_gate(predictions(wrong), predictions(wrong=30), SECTION) for wrong in (5, 30))
    assert with_latency(yes, quick, SECTION).promote
    assert not with_latency(no, quick, SECTION).promote


def with_channels(table, channels):
    return table.assign(slices=[f'{{"channel": "{channel}"}}' for channel in channels])


def test_a_value_of_a_column_that_lost_more_than_the_bound_holds_a_candidate_where_params_say_so():
    at = np.arange(300)
    chat = at % 10 == 1  # 30 rows, of all labels
    candidate = with_channels(answers(chat), np.where(chat, "chat", "mail"))
    champion = answers((at < 150) & ~chat)
    lenient = replace(SECTION, max_label_recall_loss=1.0)
    assert evaluate_gate(candidate, champion, lenient).promote
    decision = evaluate_gate(candidate, champion, replace(lenient, slices=["source", "columns", "known"]))
    assert broken(decision) == [("slice", "channel chat")] and not decision.promote
    assert any(reason.startswith("slice channel chat -1.0000 on 30 rows") for reason in decision.reasons)


def test_a_gate_that_checks_columns_takes_rows_that_keep_none():
    config = replace(SECTION, slices=["columns"])
    assert evaluate_gate(predictions(wrong=5), predictions(wrong=40), config).promote
