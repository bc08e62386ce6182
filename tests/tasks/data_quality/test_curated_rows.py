"""The curated rows are taken only as DVC has them, and only of the records and parameters that are here."""

from pathlib import Path

import pytest
import yaml

from retune.config import params
from retune.data import label_verdicts, suppression
from retune.errors import Refused, WrongUse
from tasks.data_quality import curated_rows
from tests.support.curated import write_curated_rows
from tests.support.environment import ROOT


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text("utf-8"), "utf-8")
    write_curated_rows([("1", "hello", "a")])
    return tmp_path


def test_fresh_rows_are_read(folder):
    assert curated_rows.read()["id"].tolist() == ["1"]


def test_rows_that_are_missing_or_edited_are_refused(folder):
    curated_rows.CURATED.write_bytes(b"other")
    with pytest.raises(Refused, match="other bytes than"):
        curated_rows.read()
    curated_rows.CURATED.unlink()
    with pytest.raises(Refused, match=r"there is no .*, or the last time failed: `dvc repro curate`"):
        curated_rows.read()


def test_rows_that_are_older_than_records_lists_or_parameters_are_refused(folder):
    values = yaml.safe_load(Path("params.yaml").read_text("utf-8"))
    values["curate"]["min_chars"] = 7
    Path("params.yaml").write_text(yaml.safe_dump(values), "utf-8")
    suppression.write(suppression.add(suppression.NOTHING, ["1"], "asked", "A", "2026-11-24"))
    label_verdicts.write([label_verdicts.Verdict("1", "0" * 64, "a", "b", "Ada", "2026-11-30")])
    Path("data/raw.dvc").write_text("outs:\n- md5: ffffffffffffffffffffffffffffffff.dir\n  path: raw\n")
    changes = "data/raw, data/suppressed.json, data/label_verdicts.json, curate in params.yaml"
    with pytest.raises(Refused, match=f"is older than {changes}"):
        curated_rows.read()


@pytest.mark.parametrize("task", ["instruct", "prefer"])
def test_a_task_without_labels_is_refused_in_words(task):
    config = params.load(ROOT / f"retune/config/defaults/{task}.yaml")
    with pytest.raises(WrongUse, match=f"task {task} has answers, not labels"):
        curated_rows.of_labels(config)
