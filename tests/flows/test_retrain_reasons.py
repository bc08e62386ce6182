"""Why a retraining is asked for; `tests/pipeline/test_retrain.py` holds the rest."""

from types import SimpleNamespace

import pytest

from flows import retrain


@pytest.mark.parametrize(
    ("because", "on_quality_loss", "reason"),
    [
        (None, True, "it has lost accuracy"),
        (None, False, None),
        ("asked by Ann", True, "asked by Ann"),
    ],
)
def test_a_loss_of_quality_that_the_monitor_saw_is_a_reason(monkeypatch, because, on_quality_loss, reason):
    config = SimpleNamespace(
        register=SimpleNamespace(name="desk"), trigger=SimpleNamespace(on_quality_loss=on_quality_loss)
    )
    monkeypatch.setattr(retrain, "registered_versions", lambda name: set())
    monkeypatch.setattr(retrain.suppression, "read", lambda: None)
    monkeypatch.setattr(retrain.history, "read", lambda name: None)
    champion = SimpleNamespace(name="desk/1")
    for name, value in {"newest": None, "champion": champion, "suppressed_rows": 0, "current_inputs": None}.items():
        monkeypatch.setattr(retrain.trigger, name, lambda *_, value=value: value)
    reasons = {"desk/1": "it has lost accuracy"}
    monkeypatch.setattr(retrain.verdict_file, "retrain_reason", lambda name, version: reasons[version])
    monkeypatch.setattr(retrain.trigger, "should_retrain", lambda *arguments: arguments[4])
    assert retrain.check_triggers(config, SimpleNamespace(raw="x"), because) == reason
