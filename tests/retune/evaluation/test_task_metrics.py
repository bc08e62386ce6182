"""How a table of what was said is read, for each task."""

import math

import numpy as np
import pandas as pd
import pytest
from sacrebleu import corpus_bleu, corpus_chrf

from retune.evaluation import statistics, task_metrics, text_metrics

WRITTEN = pd.DataFrame(
    {
        "id": ["a", "b", "c"],
        "label": ["x", "y", "z"],
        "tokens": [10, 20, 30],
        "nll": [10.0, 10.0, 10.0],
        "predicted": ["x", "q", None],
        "rouge_l": [1.0, 0.5, np.nan],
        "chrf": [100.0, 40.0, np.nan],
        "base_nll": [20.0, 10.0, 30.0],
        "base_predicted": ["x", "w", None],
        "base_rouge_l": [1.0, 0.0, np.nan],
        "base_chrf": [100.0, 10.0, np.nan],
    }
)


def test_another_model_is_seen_as_if_it_stood_alone():
    base = task_metrics.predictions_of(WRITTEN, "base_")
    assert base["nll"].tolist() == [20.0, 10.0, 30.0]
    assert base["tokens"].tolist() == [10, 20, 30]
    assert task_metrics.predictions_of(WRITTEN, "") is WRITTEN


def test_perplexity_weighs_tokens_and_its_gain_is_in_nats_a_token():
    pair = task_metrics.paired_scores("perplexity", WRITTEN, task_metrics.predictions_of(WRITTEN, "base_"))
    assert pair.score(pair.truth, pair.candidate) - pair.score(pair.truth, pair.rival) == pytest.approx(
        60 / 60 - 30 / 60
    )
    assert pair.differs.tolist() == [True, False, True]


def test_rows_for_which_nothing_was_written_count_for_neither():
    pair = task_metrics.paired_scores("rouge_l", WRITTEN, task_metrics.predictions_of(WRITTEN, "base_"))
    assert len(pair.candidate) == 2
    assert pair.score(pair.truth, pair.candidate) == pytest.approx(0.75)


def test_scores_up_to_100_are_shares_for_the_gate():
    pair = task_metrics.paired_scores("chrf", WRITTEN, task_metrics.predictions_of(WRITTEN, "base_"))
    assert pair.score(pair.truth, pair.candidate) == pytest.approx(0.7)


def test_labels_are_compared_by_name_whoever_says_them_first():
    predictions = pd.DataFrame(
        {"id": ["a", "b"], "label": ["x", "y"], "predicted": ["y", "y"], "base_predicted": ["x", "z"]}
    )
    pair = task_metrics.paired_scores("accuracy", predictions, task_metrics.predictions_of(predictions, "base_"))
    assert pair.score(pair.truth, pair.candidate) == pair.score(pair.truth, pair.rival) == 0.5
    assert pair.differs.tolist() == [True, True]


def test_the_headline_follows_from_the_rows():
    scores = task_metrics.recompute_scores("instruct", WRITTEN, bins=1)
    assert scores["perplexity"] == pytest.approx(math.exp(30 / 60))
    assert scores["rouge_l"] == pytest.approx(0.75)
    assert "exact_match" not in scores
    assert statistics.log_likelihood(np.array([2.0, 2.0]), np.array([1.0, 3.0])) == -1.0


def test_a_table_from_before_the_counts_gives_the_mean_of_its_rows_that_its_record_holds():
    assert task_metrics.recompute_scores("instruct", WRITTEN, bins=1)["chrf"] == pytest.approx(70)


def test_a_table_with_counts_gives_the_score_of_the_corpus():
    texts = ["the parcel left", "no"], ["the parcel left us", "it is here"]
    scores = text_metrics.score_rows(texts[1], texts[0]).reindex([0, 1, 2])
    table = scores.assign(id=["a", "b", "c"], tokens=[1, 2, 3], nll=[1.0, 2.0, 3.0])
    headline = task_metrics.recompute_scores("instruct", table, bins=1)
    assert headline["bleu"] == corpus_bleu(texts[0], [texts[1]]).score
    assert headline["chrf"] == corpus_chrf(texts[0], [texts[1]]).score
    assert headline["rouge_l"] == pytest.approx(table["rouge_l"].mean())


def test_a_version_carries_no_text_of_people():
    columns = task_metrics.without_texts("instruct", WRITTEN)
    assert set(columns) == {"id", "tokens", "nll", "rouge_l", "chrf", "base_nll", "base_rouge_l", "base_chrf"}
    assert task_metrics.without_texts("classify", WRITTEN) is WRITTEN


def test_a_list_of_models_shows_what_each_is_judged_by():
    assert task_metrics.headline({"accuracy": 0.9, "macro_f1": 0.8, "rows": 3}) == {"accuracy": 0.9, "macro-F1": 0.8}
    assert next(iter(task_metrics.headline({"perplexity": 3.0, "rouge_l": 0.4}))) == "perplexity"
    assert task_metrics.headline({"rows": 3}) == {}


PAIRS = pd.DataFrame(
    {
        "id": ["a", "b", "c"],
        "label": ["x", "y", "z"],
        "tokens": [10, 20, 10],
        "rejected_tokens": [5, 20, 10],
        "predicted": ["x", "q", None],
        "base_predicted": ["w", "q", None],
    }
).assign(nll=[10.0, 10.0, 10.0], rejected_nll=[6.0, 20.0, 10.0], preferred=[1.0, 1.0, 0.0])
PAIRS = PAIRS.assign(base_nll=[20.0, 30.0, 5.0], base_rejected_nll=[6.0, 20.0, 10.0], base_preferred=[0.0, 0.0, 1.0])


def test_a_chosen_answer_is_preferred_if_each_of_its_tokens_is_likelier_not_if_it_is_shorter():
    assert task_metrics.preferred(PAIRS).tolist() == [1.0, 1.0, 0.0], "a tie prefers neither"
    assert task_metrics.preferred(task_metrics.predictions_of(PAIRS, "base_")).tolist() == [0.0, 0.0, 1.0]


def test_the_share_of_pairs_follows_from_their_rows_and_is_compared_by_them():
    assert task_metrics.recompute_scores("prefer", PAIRS.drop(columns="preferred"), bins=1)[
        "preferred"
    ] == pytest.approx(2 / 3)
    pair = task_metrics.paired_scores("preferred", PAIRS, task_metrics.predictions_of(PAIRS, "base_"))
    assert pair.score(pair.truth, pair.candidate) - pair.score(pair.truth, pair.rival) == pytest.approx(1 / 3)


def test_a_version_keeps_every_number_of_its_pairs_and_none_of_their_texts():
    columns = task_metrics.without_texts("prefer", PAIRS.assign(rejected="no"))
    assert set(PAIRS) - set(columns) == {"label", "predicted", "base_predicted"}
    assert "rejected" not in columns


def test_a_version_that_learned_from_pairs_is_listed_by_them():
    headline = task_metrics.headline({"perplexity": 3.0, "preferred": 0.8})
    assert list(headline) == ["preferred", "perplexity"]


def test_each_metric_of_a_task_says_which_value_is_better():
    titles = {name for task in task_metrics.TASKS.values() for name in task.titles}
    assert titles >= task_metrics.LESS_IS_BETTER
    assert task_metrics.direction("perplexity") == task_metrics.direction("calibration_error") == "smaller is better"
    assert task_metrics.direction("chrf") == task_metrics.direction("macro_f1") == "larger is better"


def test_the_direction_of_an_unknown_metric_is_not_guessed():
    assert task_metrics.direction("odd") == ""
