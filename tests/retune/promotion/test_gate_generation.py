"""The gate of a model that writes: the same question as of a classifier, asked of other numbers."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sacrebleu import corpus_bleu

from retune.config.generation import GenerationPromote
from retune.evaluation import text_metrics
from retune.promotion import gate, gate_record, guardrails

SECTION = GenerationPromote(
    metric="perplexity",
    margin_over_base=0.01,
    margin_over_champion=0.0,
    confidence=0.95,
    min_detectable_gain=0.02,
    power=0.8,
    max_robustness_loss=1.0,
    max_slice_loss=0.05,
    slices=["source", "known"],
    max_retention_loss=0.05,
    max_verbatim_share=1.0,
    latency_ratio=1.5,
    bootstrap=300,
    seed=17,
    approval=False,
)
ROWS = 200
NOISE = np.random.default_rng(3).normal(0, 0.2, ROWS)


def scored_rows(nats, base=3.0, of_shop=None):
    """Rows of ten tokens each, with so many nats a token; of the shop's rows others, if told."""
    source = np.array(["desk", "shop"] * (ROWS // 2))
    nats_per_row = np.where((source == "shop") & (of_shop is not None), of_shop or 0.0, nats) + NOISE
    return pd.DataFrame(
        {
            "id": [f"r{number}" for number in range(ROWS)],
            "label": "an answer",
            "tokens": 10,
            "nll": 10 * nats_per_row,
            "base_nll": 10 * (base + NOISE),
            "source": source,
        }
    )


def test_a_likelier_reference_wins_and_the_gain_has_its_unit():
    decision = gate.evaluate_gate(scored_rows(2.0), None, SECTION)
    assert decision.promote
    assert "perplexity beats the base: gain +1.0000" in decision.reasons[0]
    assert "nats a token" in decision.reasons[0]


def test_a_tie_keeps_the_champion_and_a_loss_is_worse():
    assert not gate.evaluate_gate(scored_rows(2.0), scored_rows(2.0), SECTION, "writer/1").promote
    worse = gate.evaluate_gate(scored_rows(2.5), scored_rows(2.0), SECTION, "writer/1")
    assert worse.worse
    assert not worse.promote


def test_a_better_whole_does_not_pay_for_a_worse_slice():
    decision = gate.evaluate_gate(scored_rows(1.0, of_shop=2.2), scored_rows(2.0), SECTION, "writer/1")
    assert decision.rivals[1].is_beaten
    assert [(bound.kind, bound.name) for bound in decision.guardrails if bound.violated] == [("slice", "source shop")]
    assert not decision.promote
    assert gate.evaluate_gate(
        scored_rows(1.0, of_shop=2.2), scored_rows(2.0), replace(SECTION, slices=[]), "writer/1"
    ).promote


def questions(right, base_right):
    return pd.DataFrame({"set": "boolq", "right": np.arange(400) < right, "base_right": np.arange(400) < base_right})


@pytest.mark.parametrize("champion", [None, scored_rows(2.5)])
def test_who_forgot_what_its_base_knew_is_held(champion):
    name = None if champion is None else "writer/1"
    forgot = gate.evaluate_gate(scored_rows(2.0), champion, SECTION, name, questions=questions(200, 280))
    assert not forgot.promote
    assert "forgot what its base knew: boolq -0.2000 on 400 questions" in " ".join(forgot.reasons)
    decision = gate.evaluate_gate(scored_rows(2.0), champion, SECTION, name, questions=questions(275, 280))
    assert decision.promote
    assert "has not surely forgotten" in " ".join(decision.reasons)


@pytest.mark.parametrize(("lost_rows", "won", "rows"), [(12, 8, 400), (0, 0, 400), (3, 0, 20)])
def test_a_loss_that_chance_explains_is_no_loss_of_what_the_base_knew(lost_rows, won, rows):
    numbers = np.arange(rows)
    answers = pd.DataFrame({"set": "boolq", "right": numbers >= lost_rows, "base_right": ~(numbers >= rows - won)})
    bounds, _ = guardrails.check_retention(answers, replace(SECTION, max_retention_loss=0.02, bootstrap=2000))
    assert not bounds[0].violated


def test_too_few_rows_to_tell_say_how_many_would_do():
    few = scored_rows(2.0).head(12), scored_rows(2.0).head(12).assign(nll=lambda rows: rows["nll"] + [6.0, -5.0] * 6)
    decision = gate.evaluate_gate(*few, SECTION, "writer/1")
    assert "not enough rows to tell" in decision.reasons[1]
    assert decision.rivals[1].required_rows > 12


def test_the_record_of_it_fits_the_schema_and_is_decided_again_without_texts():
    decision = gate.evaluate_gate(
        scored_rows(2.0), scored_rows(2.5), SECTION, "writer/1", questions=questions(275, 280)
    )
    gate_facts = gate_record.as_record(decision, SECTION, None)
    again = gate.evaluate_gate(
        scored_rows(2.0), scored_rows(2.5).drop(columns="label"), SECTION, "writer/1", questions=questions(275, 280)
    )
    assert gate_record.as_record(again, SECTION, None) == gate_facts
    assert {bound["kind"] for bound in gate_facts["bounds"]} == {"slice", "general"}


def pairs(preferred, base):
    """Rows of which so many have a chosen answer that is the likelier one; of the base so many."""
    rows = np.arange(ROWS)
    return scored_rows(2.0).assign(preferred=(rows < preferred) * 1.0, base_preferred=(rows < base) * 1.0)


def test_pairs_are_judged_by_the_share_whose_chosen_answer_is_likelier():
    section = replace(SECTION, metric="preferred")
    decision = gate.evaluate_gate(pairs(170, 100), pairs(120, 100), section, "writer/1")
    assert decision.promote
    assert "preferred beats the base: gain +0.3500 [" in decision.reasons[0]
    assert "nats" not in decision.reasons[0]
    assert not gate.evaluate_gate(pairs(170, 100), pairs(170, 100), section, "writer/1").promote


def texts(predictions, base):
    """The columns of the answers to one reference."""
    references = ["The parcel left us on Monday morning."] * len(predictions)
    one, other = (text_metrics.score_rows(references, each) for each in (predictions, base))
    table = pd.concat([one, other.add_prefix("base_")], axis=1)
    return table.assign(id=[f"r{number}" for number in range(len(predictions))], source="desk")


def test_answers_are_compared_by_the_scores_of_the_whole_not_by_the_mean_of_rows():
    good, bad = "The parcel left us on Monday.", "It left on Friday."
    one, other = [good] * 20 + [bad] * 20, [bad] * 30 + [good] * 10
    section = replace(SECTION, metric="bleu", slices=["source"])
    decision = gate.evaluate_gate(texts(one, other), texts(other, other), section, "writer/1")
    references = [["The parcel left us on Monday morning."] * 40]
    expected = (corpus_bleu(one, references).score - corpus_bleu(other, references).score) / 100
    for rival in decision.rivals:
        assert rival.comparison.gain == pytest.approx(expected)
        assert rival.comparison.low < expected < rival.comparison.high
        assert (rival.comparison.rows, rival.comparison.discordant) == (40, 30)
    assert decision.guardrails[0].loss == pytest.approx(-expected)


def test_answers_of_tables_from_before_the_counts_are_compared_by_the_mean_of_rows():
    table = texts(["The parcel left us on Monday."] * 20, ["It left on Friday."] * 20)
    before = table.drop(columns=[name for name in table if name.endswith("_counts")])
    for champion in (before, table):
        decision = gate.evaluate_gate(before, champion, replace(SECTION, metric="bleu", slices=[]), "writer/1")
        assert decision.rivals[0].comparison.gain == pytest.approx((table["bleu"] - table["base_bleu"]).mean() / 100)
        assert decision.rivals[1].comparison.gain == 0
