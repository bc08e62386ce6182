import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from retune.evaluation import label_metrics, statistics

WORDS = st.sampled_from(["bills", "parcels", "repairs", "returns"])


def intervals(truth, predicted, confidences):
    return label_metrics.intervals(
        truth, predicted, np.array(confidences), statistics.resamples(len(truth), 20, 1), 0.95, bins=10
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=40))
def test_the_scores_equal_those_of_scikit_learn(pairs):
    truth, predicted = (list(column) for column in zip(*pairs, strict=True))
    scores = intervals(truth, predicted, [0.5] * len(pairs))
    labels = sorted(set(truth))
    f1 = f1_score(truth, predicted, labels=labels, average="macro", zero_division=0)
    assert scores["macro_f1"].value == pytest.approx(f1, abs=1e-12)
    assert scores["accuracy"].value == pytest.approx(accuracy_score(truth, predicted), abs=1e-12)


def test_the_scores_by_hand():
    scores = intervals(["a", "a", "b", "b"], ["a", "b", "b", "b"], [0.9, 0.9, 0.9, 0.9])
    assert {name: score.value for name, score in scores.items()} == {
        "accuracy": 0.75,
        "macro_f1": pytest.approx((2 / 3 + 0.8) / 2),
        "calibration_error": pytest.approx(0.15),
    }


def test_per_label_names_every_label_seen_or_guessed():
    table = label_metrics.per_label(["a", "a", "b"], ["a", "c", "b"]).set_index("label")
    assert table["rows"].to_dict() == {"a": 2, "b": 1, "c": 0}
    assert table.loc["a", ["precision", "recall"]].tolist() == [1.0, 0.5]
    assert table.loc["c", "f1"] == 0


def test_confusion_counts_truth_down_and_predictions_across():
    table = label_metrics.confusion(["a", "a", "b"], ["a", "b", "b"])
    assert table.loc["a", "b"] == 1
    assert table.loc["b", "a"] == 0
    assert table.to_numpy().sum() == 3


def test_metrics_need_no_network_and_run_no_file_of_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "accuracy").mkdir()
    (tmp_path / "accuracy" / "accuracy.py").write_text("raise SystemExit('a stranger')")
    monkeypatch.chdir(tmp_path)
    assert label_metrics.metrics(bins=10)["accuracy"].compute(predictions=[1], references=[1]) == {"accuracy": 1.0}
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
