from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.config.classification import Promote
from retune.errors import Refused
from retune.evaluation import statistics
from retune.promotion import latency
from retune.promotion.gate import CANNOT_TELL, NOT_BETTER, WON, evaluate_gate, with_latency
from retune.promotion.gate_record import as_record, as_schema_1, with_source
from retune.promotion.latency import Latency

SECTION = Promote(
    metric="macro_f1",
    margin_over_base=0.01,
    margin_over_champion=0.0,
    confidence=0.95,
    min_detectable_gain=0.02,
    power=0.8,
    max_label_recall_loss=0.05,
    max_slice_loss=0.02,
    slices=["source", "known"],
    calibration_error_rise=0.05,
    calibration_bins=15,
    latency_ratio=1.5,
    approval=False,
    bootstrap=200,
    seed=17,
)
ACCURACY = replace(SECTION, metric="accuracy")
LABELS = np.array(["bills", "parcels", "repairs"])


def said(wrong, base_wrong=60, rows=120):
    """Predictions that are wrong in the first `wrong` rows, beside a base that is wrong in the first `base_wrong`."""
    return answers(np.arange(rows) < wrong, np.arange(rows) < base_wrong)


def answers(wrong, base_wrong=True):
    """Predictions of three labels in turn, wrong where told."""
    rows = len(wrong)
    truth = np.arange(rows) % 3
    columns = {
        name: LABELS[(truth + np.broadcast_to(where, rows)) % 3]
        for name, where in {"predicted": wrong, "base_predicted": base_wrong}.items()
    }
    return pd.DataFrame(
        {
            "id": [f"r{n}" for n in range(rows)],
            "label": LABELS[truth],
            **columns,
            "confidence": 0.9,
            "source": ["desk", "shop"] * (rows // 2) + ["desk"] * (rows % 2),
        }
    )


def broken(decision):
    return [(bound.kind, bound.name) for bound in decision.guardrails if bound.violated]


def outcomes(decision):
    return {rival.name: rival.outcome for rival in decision.rivals}


# ---- the three outcomes


def test_the_first_model_becomes_champion_by_beating_the_base():
    decision = evaluate_gate(said(wrong=10), None, SECTION)
    assert decision.promote and not decision.worse
    (reason,) = decision.reasons
    assert reason.startswith("macro_f1 beats the base: gain +0.4")
    assert "on 120 rows" in reason
    assert decision.guardrails == ()


def test_a_model_no_better_than_the_base_is_held():
    decision = evaluate_gate(said(wrong=60), None, SECTION)
    assert not decision.promote
    assert outcomes(decision) == {"base": NOT_BETTER}
    assert "does not beat the base: gain +0.0000" in decision.reasons[0]


def test_a_better_candidate_takes_the_champions_place_and_a_worse_one_does_not():
    better, worse = said(wrong=5), said(wrong=30)
    assert evaluate_gate(better, worse, SECTION).promote
    decision = evaluate_gate(worse, better, SECTION)
    assert not decision.promote and decision.worse
    assert decision.rivals[1].significantly_worse and not decision.rivals[0].significantly_worse
    assert "macro_f1 is worse than that of the champion: gain -0.2" in decision.reasons[1]


def test_who_is_below_the_champion_is_worse_without_any_bound():
    section = replace(SECTION, max_label_recall_loss=1.0, max_slice_loss=1.0, calibration_error_rise=1.0)
    decision = evaluate_gate(said(wrong=30), said(wrong=5), section)
    assert decision.worse and broken(decision) == []
    assert not evaluate_gate(said(wrong=7), said(wrong=5), section).worse, "two rows prove nothing"


def test_a_tie_keeps_the_champion_and_makes_nobody_worse():
    decision = evaluate_gate(said(wrong=10), said(wrong=10), SECTION)
    assert not decision.promote and not decision.worse
    assert outcomes(decision) == {"base": WON, "champion": NOT_BETTER}
    assert decision.rivals[1].comparison.confidence == 0


def test_who_beats_the_champion_must_still_beat_the_base():
    decision = evaluate_gate(said(wrong=60), said(wrong=100), SECTION)
    assert not decision.promote
    assert outcomes(decision) == {"base": NOT_BETTER, "champion": WON}


def test_a_gain_within_the_margin_is_not_enough():
    candidate = said(wrong=10, base_wrong=60)
    gain = evaluate_gate(candidate, None, SECTION).rivals[0].comparison.gain
    assert not evaluate_gate(candidate, None, replace(SECTION, margin_over_base=gain + 0.01)).promote


def test_a_small_gain_is_not_sure_enough_until_less_is_asked():
    candidate, champion = said(wrong=8), said(wrong=10)
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
    decision = evaluate_gate(said(wrong=12, rows=100), said(wrong=10, rows=100), ACCURACY)
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
    ours, theirs = (
        answers(np.array(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))) for _ in range(2)
    )
    section = replace(SECTION, bootstrap=100)
    one, other = evaluate_gate(ours, theirs, section), evaluate_gate(theirs, ours, section)
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
        ours, theirs = answers(draw < 0.05), answers((draw >= 0.05) & (draw < 0.15))
        return evaluate_gate(ours, theirs, section).rivals[1]

    needed = [against(300).required_rows for _ in range(3)]
    assert all(300 < rows < 650 for rows in needed)
    won = [against(rows).is_beaten for rows in needed for _ in range(30)]
    assert np.mean(won) > 0.8 - 2 * np.sqrt(0.8 * 0.2 / len(won))
    assert np.mean([against(100).is_beaten for _ in range(30)]) < 0.6  # fewer rows would not have done


def test_the_fewest_rows_are_those_of_the_exact_sign_test():
    assert [statistics.min_discordant_rows(confidence) for confidence in (0.51, 0.75, 0.95, 0.99)] == [2, 2, 5, 7]


# ---- labels and slices


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
def test_no_candidate_wins_that_lost_a_big_label_beyond_the_bound(lost, others_won):
    at = np.arange(300)
    bills = at % 3 == 0
    gained = np.isin(at, at[~bills][:others_won])
    candidate, champion = answers(bills & (at < 3 * lost)), answers(gained)
    decision = evaluate_gate(candidate, champion, replace(SECTION, bootstrap=100, max_label_recall_loss=lost / 400))
    assert not decision.promote and decision.worse


def test_a_small_label_holds_nobody_by_chance():
    """One row of a label of four, lost: 25 points, and no news."""
    at = np.arange(120)
    candidate, champion = said(wrong=5), said(wrong=40)
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


def with_repairs(lost, won, rows):
    """Candidate and champion who differ on the label `repairs` alone, of which there are `rows`."""
    label = np.array(["bills"] * 100 + ["repairs"] * rows)
    at = np.arange(len(label)) - 100
    frame = {"id": range(len(label)), "label": label, "base_predicted": "none", "confidence": 0.9, "source": "desk"}
    answered = [(at >= 0) & (at < lost), (at >= lost) & (at < lost + won)]
    return [pd.DataFrame(frame | {"predicted": np.where(wrong, "none", label)}) for wrong in answered]


@pytest.mark.parametrize(
    ("lost", "won", "rows", "sure"),
    [
        (4, 0, 4, False),  # every resample says so, and by chance one case in sixteen would
        (6, 0, 6, True),
        (6, 4, 30, False),  # seven points, as it happens
        (8, 0, 100, False),  # surely lost, not surely beyond five points
        (12, 0, 30, True),
        (3, 0, 60, False),  # the bound itself
    ],
)
def test_a_label_is_worse_only_if_it_surely_is(lost, won, rows, sure):
    found = evaluate_gate(*with_repairs(lost, won, rows), SECTION).guardrails
    repairs = next(bound for bound in found if bound.name == "repairs")
    assert (repairs.loss, repairs.violated) == (pytest.approx((lost - won) / rows), sure)


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
    frame = said(wrong=5).drop(columns="source")
    decision = evaluate_gate(frame, said(wrong=30), replace(SECTION, slices=[]))
    assert decision.promote
    assert {bound.kind for bound in decision.guardrails} == {"label", "calibration"}


@pytest.mark.parametrize(
    ("known", "names", "told"),
    [
        (None, ["known"], "not kept any more: all rows count as known"),
        ([], ["new"], "tested on none of these rows: all are new"),
        (["r0"], ["known", "new"], None),
        ([f"r{n}" for n in range(120)], ["known"], None),
        (["gone-1", "r5"], ["known", "new"], None),
    ],
)
def test_known_and_new_rows_are_told_apart(known, names, told):
    decision = evaluate_gate(said(wrong=5), said(wrong=30), SECTION, champion_test_ids=known)
    found = [
        bound.name for bound in decision.guardrails if bound.kind == "slice" and not bound.name.startswith("source")
    ]
    assert found == names
    assert (
        any(told in reason for reason in decision.reasons)
        if told
        else not any(" tested " in r for r in decision.reasons)
    )
    assert decision.promote


def test_many_broken_bounds_make_few_lines():
    labels = np.repeat([f"l{n:02}" for n in range(40)], 30)
    frame = {"id": range(1200), "label": labels, "base_predicted": "none", "confidence": 0.5, "source": "desk"}
    lost = pd.DataFrame(frame | {"predicted": np.where(np.arange(1200) % 2, labels, "none")})
    decision = evaluate_gate(lost, pd.DataFrame(frame | {"predicted": labels}), SECTION)
    assert len(broken(decision)) == 42
    assert len(decision.reasons) <= 8
    assert "and 39 more labels or slices beyond their bound" in decision.reasons


def test_a_label_that_the_champion_never_knew_is_a_label_that_it_got_wrong():
    candidate, champion = said(wrong=5), said(wrong=30)
    rows = candidate.index >= 90
    for frame in (candidate, champion):
        frame.loc[rows, "label"] = "returns"
    candidate.loc[rows, "predicted"] = "returns"
    champion["predicted"] = champion["predicted"].replace("repairs", "a label that is no more")
    decision = evaluate_gate(candidate, champion, SECTION)
    assert decision.promote
    assert next(bound for bound in decision.guardrails if bound.name == "returns").loss == -1


# ---- calibration


def test_a_candidate_that_is_sure_and_wrong_is_held():
    champion = said(wrong=30).assign(confidence=0.75)
    candidate = said(wrong=5).assign(confidence=0.99)
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
    candidate, champion = said(wrong=5), said(wrong=30)
    for wrong in (np.nan, np.inf, -0.1, 1.5):
        decision = evaluate_gate(candidate.assign(confidence=[wrong, *[0.9] * 119]), champion, SECTION)
        assert not decision.promote and decision.worse
        assert "the confidence of the candidate is no number from 0 to 1 in 1 of 120 rows" in decision.reasons
        decision = evaluate_gate(candidate, champion.assign(confidence=wrong), SECTION)
        assert decision.promote
        assert "the confidence of the champion is no number from 0 to 1 in 120 of 120 rows" in decision.reasons


# ---- latency

LATENCY = Latency(candidate=4.0, champion=2.0, ratio=2.0, texts=32, passes=5)  # of an old record
OLD_KEYS = {"candidate", "champion", "ratio", "texts", "passes"}


def test_a_slow_candidate_is_held_and_not_called_worse():
    yes = evaluate_gate(said(wrong=5), said(wrong=30), SECTION)
    no = with_latency(yes, LATENCY, SECTION)
    assert yes.promote and not no.promote and not no.worse
    assert no.latency == LATENCY
    assert no.reasons[-1] == (
        "4 ms a text, the champion 2: ratio 2.00, above the bound of 1.5 (median of 5 passes over 32 texts)"
    )
    assert not with_latency(yes, replace(LATENCY, ratio=float("nan")), SECTION).promote


def test_the_reason_names_the_knob_and_of_what_the_time_is():
    yes = evaluate_gate(said(wrong=5), said(wrong=30), SECTION)
    text = with_latency(yes, replace(LATENCY, per="text"), SECTION)
    assert text.reasons[-1].startswith("4 ms a text, the champion 2: ratio 2.00, above the bound of 1.5 (promote.late")
    wrote = replace(LATENCY, ratio=0.66, per="token", candidate_tokens=32 * 246, champion_tokens=32 * 48)
    token = with_latency(yes, wrote, SECTION)
    assert token.promote
    assert token.reasons[-1] == (
        "4 ms a token written (246 tokens a text), the champion 2 (48): ratio 0.66 (3.38 a text), within the bound "
        "of 1.5 (promote.latency_ratio; median of 5 passes over 32 texts)"
    )
    kept = as_record(token, SECTION, None)["latency"]
    assert latency.parse(kept) == wrote
    assert set(as_record(with_latency(yes, LATENCY, SECTION), SECTION, None)["latency"]) == OLD_KEYS, "as it was"


def test_a_model_that_writes_is_slow_if_it_is_so_by_the_token_and_by_the_text():
    yes = evaluate_gate(said(wrong=5), said(wrong=30), SECTION)

    def promoted(ratio, tokens):
        wrote = replace(LATENCY, ratio=ratio, per="token", candidate_tokens=tokens, champion_tokens=100)
        return with_latency(yes, wrote, SECTION).promote

    assert promoted(1.0, 400), "it is no slower, only longer"
    assert promoted(2.0, 20), "it is brief, and what it takes is to read the prompt"
    assert not promoted(2.0, 100)
    assert not promoted(2.0, 400)


def test_a_quick_candidate_is_promoted_only_if_it_was_to_be():
    quick = replace(LATENCY, candidate=2.0, ratio=1.0)
    yes, no = (evaluate_gate(said(wrong), said(wrong=30), SECTION) for wrong in (5, 30))
    assert with_latency(yes, quick, SECTION).promote
    assert not with_latency(no, quick, SECTION).promote


# ---- the frames


@pytest.mark.parametrize("change", ["order", "fewer", "labels"])
def test_candidate_and_champion_of_different_rows_are_not_compared(change):
    champion = said(wrong=5)
    other = {
        "order": champion[::-1].reset_index(drop=True),
        "fewer": champion.head(100),
        "labels": champion.assign(label=champion["label"].to_numpy()[::-1]),
    }[change]
    with pytest.raises(Refused, match="different rows"):
        evaluate_gate(said(wrong=5), other, SECTION)


def test_no_rows_are_refused_and_one_row_is_too_few():
    with pytest.raises(Refused, match="no test rows"):
        evaluate_gate(said(wrong=0).head(0), said(wrong=0).head(0), SECTION)
    decision = evaluate_gate(said(wrong=0, rows=1), said(wrong=1, rows=1), SECTION)
    assert outcomes(decision) == {"base": CANNOT_TELL, "champion": CANNOT_TELL}
    assert broken(evaluate_gate(said(wrong=1, rows=1), said(wrong=0, rows=1), SECTION)) == []


def test_the_same_frames_are_decided_alike_and_left_as_they_were():
    candidate, champion = said(wrong=8), said(wrong=10)
    before = candidate.copy(deep=True), champion.copy(deep=True)
    assert evaluate_gate(candidate, champion, SECTION) == evaluate_gate(candidate, champion, SECTION)
    assert candidate.equals(before[0])
    assert champion.equals(before[1])


def test_each_row_gets_its_own_source_from_the_test_side():
    rows = pd.DataFrame({"id": ["b", "a", "more"], "source": ["shop", "desk", "x"]})
    assert with_source(pd.DataFrame({"id": ["a", "b", "c"]}), rows)["source"].tolist() == ["desk", "shop", ""]


def test_records_of_schema_1_are_decided_by_the_rule_of_their_time():
    """Three rows that agree were enough then."""
    old = {"metric": "macro_f1", "margin_over_base": 0.01, "margin_over_champion": 0.0, "confidence": 0.95}
    old |= {"bootstrap": 200, "seed": 17}
    told = as_schema_1(answers(np.zeros(3, bool)), answers(np.ones(3, bool)), old)
    assert told["decision"] == "champion"
    assert told["rivals"][1]["reason"] == (
        "macro_f1 beats the champion: gain +1.0000 [+1.0000, +1.0000] on 3 rows; above the margin of 0 in 100.0% of "
        "resamples, 95% asked"
    )
    assert as_schema_1(answers(np.ones(3, bool)), None, old)["decision"] == "held"
