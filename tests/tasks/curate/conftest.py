import hashlib
import json
from pathlib import Path

import pytest
import yaml

from retune.data import label_verdicts, suppression
from tests.support.environment import ROOT


@pytest.fixture
def stage_folder(tmp_path, monkeypatch):
    shipped = ROOT / "params.yaml"
    (tmp_path / "params.yaml").write_text(shipped.read_text("utf-8"), "utf-8")
    suppression.write(suppression.NOTHING, tmp_path / "suppressed.json")
    label_verdicts.write([], tmp_path / "label_verdicts.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def set_general_sources(stage_folder):
    """The stage's folder with the params of task instruct; takes general examples to name in them."""

    def name(records, **changes):
        file = stage_folder / "own.jsonl"
        file.write_text("".join(f"{json.dumps(record)}\n" for record in records), "utf-8")
        values = yaml.safe_load((ROOT / "retune/config/defaults/instruct.yaml").read_text("utf-8"))
        source = {"path": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()} | changes
        values["curate"]["replay"] = [source]
        Path("params.yaml").write_text(yaml.safe_dump(values), "utf-8")

    return name
