import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retune.evaluation import label_metrics, statistics

WORDS = st.sampled_from(["bills", "parcels", "repairs", "returns"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=40))
def test_the_metrics_for_people_equal_the_fast_ones_of_the_bootstrap(pairs):
    truth, predicted = (list(side) for side in zip(*pairs, strict=True))
    names = sorted({*truth, *predicted})
    numbers = [np.array([names.index(label) for label in side]) for side in (truth, predicted)]
    one = label_metrics.MacroF1.of(predicted, truth)
    other = label_metrics.Accuracy.of(predicted, truth)
    assert one == {"macro_f1": pytest.approx(statistics.macro_f1(*numbers), abs=1e-12)}
    assert other == {"accuracy": pytest.approx(statistics.accuracy(*numbers), abs=1e-12)}


def test_the_summary_by_hand():
    truth, predicted = ["a", "a", "b", "b"], ["a", "b", "b", "b"]
    told = label_metrics.summary(truth, predicted, np.array([0.9, 0.9, 0.9, 0.9]), bins=10)
    assert told == {
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
    assert label_metrics.Accuracy().compute(predictions=["a"], references=["a"]) == {"accuracy": 1.0}
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
