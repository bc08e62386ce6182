import json

import pytest
import yaml

from retune.config import params
from retune.preflight import audit_settings
from tests.support.environment import ROOT


def shipped(task):
    return yaml.safe_load((ROOT / f"retune/config/defaults/{task}.yaml").read_text("utf-8"))


def test_other_turns_or_another_template_are_told_from_what_to_what(tmp_path):
    values, report = shipped("instruct"), tmp_path / "validate.json"
    assert audit_settings.changes(values, report) == []
    report.write_text("{}")
    assert audit_settings.changes(values, report) == []
    report.write_text(json.dumps({audit_settings.KEY: audit_settings.of(values)}))
    assert audit_settings.changes(values, report) == []
    values["train"] |= {"turns": "last", "epochs": 99}
    assert audit_settings.changes(values, report) == ["train.turns: all → last"]


@pytest.mark.parametrize("task", params.TASKS)
def test_every_task_has_those_that_its_audit_asks_for(task):
    path = ROOT / ("params.yaml" if task == "classify" else f"retune/config/defaults/{task}.yaml")
    names = set(audit_settings.of(yaml.safe_load(path.read_text("utf-8"))))
    of_all = {"train.template", "train.too_long", "train.method", "promote.metric"}
    assert names == {"classify": set(), "instruct": {*of_all, "train.turns"}, "prefer": of_all}[task]
