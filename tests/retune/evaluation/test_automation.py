"""What may be automated: a promise is kept, and nothing is promised of a model that does not keep it."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from retune.config.evaluation import GenerationAutomation
from retune.evaluation import automation
from retune.evaluation.automation import Answers, Promise

PROMISE = Promise(precision=0.95, confidence=0.95)


def answers(rows, right, seed=1, labels=("a", "b", "c")):
    """right: confidence -> probability of a right answer."""
    draw = np.random.default_rng(seed)
    confidence = draw.random(rows)
    return Answers(draw.choice(np.array(labels, object), rows), confidence, draw.random(rows) < right(confidence))


def overconfident(confidence):
    """Right far less often than it says, and more often the surer it is."""
    return 0.5 + 0.499 * confidence**0.3


@pytest.mark.parametrize(("precision", "confidence", "rows"), [(0.98, 0.95, 149), (0.95, 0.95, 59), (0.9, 0.99, 44)])
def test_the_fewest_rows_without_a_mistake_are_those_of_the_closed_form(precision, confidence, rows):
    assert automation.fewest_rows(Promise(precision, confidence)) == rows
    assert precision**rows <= 1 - confidence < precision ** (rows - 1)


@pytest.mark.parametrize("wrong", [1, 2, 7, 40])
def test_the_fewest_rows_with_mistakes_are_where_the_binomial_tail_first_falls_below_the_doubt(wrong):
    rows = automation.fewest_rows(PROMISE, wrong)
    assert binom.cdf(wrong, rows, 0.05) <= 0.05 < binom.cdf(wrong, rows - 1, 0.05)


def test_the_exact_interval_is_that_of_clopper_and_pearson():
    spread = automation.exact_interval(9, 10, 0.975)
    assert (spread.low, spread.high) == pytest.approx((0.5550, 0.9975), abs=1e-4)  # Clopper & Pearson, 95% two-sided
    assert automation.exact_interval(0, 0, 0.95) == automation.Interval(0.0, 0.0, 1.0)
    assert automation.exact_interval(10, 10, 0.95).high == 1
    assert automation.exact_interval(0, 10, 0.95).low == 0


def test_the_promise_is_kept_in_95_of_100_draws_though_the_model_is_overconfident():
    grid = np.linspace(0, 1, 20_001)
    probability = overconfident(grid)
    keeps = []
    for seed in range(200):
        bound = automation.threshold(answers(400, overconfident, seed), PROMISE)
        keeps.append(bound is None or probability[grid >= bound].mean() >= PROMISE.precision)
    assert np.mean(keeps) >= 0.95
    assert sum(automation.threshold(answers(4000, overconfident, seed), PROMISE) is None for seed in range(20)) == 0


def test_a_model_whose_confidence_says_nothing_gets_no_threshold():
    bounds = [automation.threshold(answers(500, lambda sure: np.full_like(sure, 0.9), n), PROMISE) for n in range(60)]
    assert sum(bound is not None for bound in bounds) <= 60 * 0.1


def test_rows_of_the_same_confidence_are_automated_together_or_not_at_all():
    right = np.arange(200) >= 100  # of two hundred rows that are equally sure every second one is wrong
    tied = Answers(np.full(200, "a", object), np.full(200, 0.9), right)
    assert automation.threshold(tied, PROMISE) is None
    assert automation.threshold(Answers(tied.predicted, tied.confidence, np.full(200, True)), PROMISE) == 0.9


@pytest.mark.parametrize("rows", [0, 1, 2, 58])
def test_too_few_rows_promise_nothing_and_say_how_many_would(rows):
    document = automation.decide(answers(rows, np.ones_like), answers(50, np.ones_like), PROMISE, by_label=True)
    assert (document["status"], document["threshold"]) == (automation.UNREACHABLE, None)
    assert ("59 without a mistake are needed" if rows else "no validation row") in document["reason"]
    assert automation.headline(document)["automated_share"] == 0
    json.dumps(document, allow_nan=False)


def test_test_rows_prove_a_promise_or_leave_it_to_validation_or_take_it_back():
    always, never = np.ones_like, lambda sure: np.full_like(sure, 0.6)
    validation = answers(300, always)
    proved = automation.decide(validation, answers(300, always, 2), PROMISE, by_label=False)
    holds = automation.decide(validation, answers(30, always, 2), PROMISE, by_label=False)
    contradicted = automation.decide(validation, answers(300, never, 2), PROMISE, by_label=False)
    assert [each["status"] for each in (proved, holds, contradicted)] == ["proved", "holds", "contradicted"]
    assert proved["threshold"] == holds["threshold"] == pytest.approx(validation.confidence.min())
    assert contradicted["threshold"] is None
    assert "a person reads everything" in contradicted["reason"]
    assert "59 such test rows with 0 wrong would prove it" in holds["reason"]
    assert automation.headline(proved)["automated_precision"] == 1
    assert "automated_precision" not in automation.headline(contradicted)


def test_no_test_row_above_the_threshold_is_no_proof_and_no_contradiction():
    document = automation.decide(answers(100, np.ones_like), answers(0, np.ones_like), PROMISE, by_label=False)
    assert (document["status"], document["precision"]) == (automation.HOLDS, None)


def test_labels_with_rows_enough_have_thresholds_of_their_own_and_share_the_doubt():
    predicted = np.array(["a"] * 400 + ["b"] * 300 + ["c"] * 20, object)
    labels, shared = automation.groups(predicted, PROMISE)
    assert labels == ["a", "b"]
    assert shared.confidence == pytest.approx(1 - 0.05 / 3)  # two labels, and the others together
    assert automation.groups(predicted[:400], PROMISE) == ([], PROMISE), "one label alone is the whole"
    assert automation.groups(np.array([], object), PROMISE) == ([], PROMISE)


def test_a_label_that_is_wrong_goes_to_a_person_while_the_others_do_not():
    draw = np.random.default_rng(3)
    predicted = np.array(["a", "b"] * 600, object)
    right = (predicted == "a") | (draw.random(1200) < 0.5)
    both = Answers(predicted, draw.random(1200), right)
    document = automation.decide(both, both, PROMISE, by_label=True)
    assert document["labels"]["a"] is not None
    assert document["labels"]["b"] is None
    assert document["share"]["value"] == pytest.approx(0.5, abs=0.01)


def test_a_label_whose_test_rows_contradict_the_promise_is_taken_out_by_name():
    predicted = np.array(["a", "b"] * 600, object)
    fine = Answers(predicted, np.linspace(0.5, 1, 1200), np.full(1200, True))
    worse = Answers(predicted, fine.confidence, (predicted == "a") | (np.arange(1200) % 10 != 1))
    document = automation.decide(fine, worse, Promise(0.9, 0.95), by_label=True)
    assert document["labels"]["a"] is not None
    assert document["labels"]["b"] is None
    assert document["status"] == automation.HOLDS
    assert "A person reads all of b" in document["reason"]


def test_the_area_under_risk_over_coverage_is_the_mean_of_the_risks_at_each_row():
    confidence, right = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    coverage, risk = automation.risk_coverage(confidence, right)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1]
    assert risk == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert automation.aurc(confidence, right) == pytest.approx(np.mean(risk))
    assert automation.aurc(confidence, np.full(4, True)) == 0
    assert automation.aurc(np.array([]), np.array([], bool)) == 0


def test_the_order_of_rows_does_not_matter_even_among_ties():
    confidence, right = np.array([0.9, 0.9, 0.5]), np.array([True, False, True])
    assert automation.aurc(confidence, right) == automation.aurc(confidence[[1, 0, 2]], right[[1, 0, 2]])


def test_a_model_that_writes_promises_nothing_without_a_measure_and_says_which_it_has():
    config = GenerationAutomation(measure=None, precision=0.9, confidence=0.95, rows=64)
    rows = pd.DataFrame({"confidence": np.linspace(0.9, 1, 40), "right": 1.0})
    assert automation.document(rows, rows, config)["status"] == automation.OFF
    document = automation.document(rows, rows, replace(config, measure="exact"))
    assert (document["status"], document["measure"], document["labels"]) == (automation.PROVED, "exact", {})
