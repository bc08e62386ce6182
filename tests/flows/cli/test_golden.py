"""`retune golden`: a case goes into the file, its hash into params.yaml, and a version that fails one is told."""

import json
import re
import shutil
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from flows.cli import golden
from flows.project import environment
from retune.config import params
from retune.errors import Refused, WrongUse
from retune.evaluation import golden_cases
from retune.models import loading, manifest
from retune.models.classifier import Predictions
from retune.registry import versions
from tests.support.environment import ROOT

LABELS = ["billing", "shipping"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The command in a folder with the shipped files, where every version answers `billing`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").mkdir()
    for name in ("params.yaml", "tests/golden.csv"):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(environment, "activate_project", lambda **_: None)
    monkeypatch.setattr(environment, "project_lock", lambda _: nullcontext())
    monkeypatch.setattr(versions, "resolve", lambda name: name)
    monkeypatch.setattr(versions, "model_folder", lambda version: tmp_path)
    monkeypatch.setattr(manifest, "read", lambda folder: SimpleNamespace(labels=LABELS))

    def predict(texts):
        return Predictions(["billing"] * len(texts), np.full(len(texts), 0.9))

    monkeypatch.setattr(loading, "load", lambda folder: SimpleNamespace(predict=predict))
    return lambda *words: CliRunner().invoke(golden.golden, [*words])


def test_a_bad_prediction_becomes_a_case_that_every_run_reads(run):
    done = run("add", "classifier/3", "- where is it?", "--expect", "shipping")
    assert done.exit_code == 0, done.output
    assert "classifier/3 answers billing (0.900): failed, 'shipping' expected, not 'billing'" in done.stdout
    assert "added 'where is it' to tests/golden.csv, which holds 1" in done.stdout
    (case,) = golden_cases.read(params.load().evaluate.golden)
    assert (case.text, case.label) == ("- where is it?", "shipping")
    (listed,) = json.loads(run("list", "--json").stdout)
    assert listed == {"name": "where is it", "text": "- where is it?", "expected": "shipping", "label": "shipping"}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["hello", "--expect", "billing"], "the case 'hello' says the same"),
        (["hello", "--expect", "shipping", "--name", "b"], "no answer fits this case and 'hello'"),
        (["bye", "--expect", "billings"], "the version has no label 'billings'; did you mean billing?"),
        (["bye", "--regex", "("], "the regex '\\(' is not one"),
        (["bye"], "this has none"),
        (["bye", "--schema", "gone.json"], "--schema is '.*gone.json', which is not a JSON file"),
    ],
)
def test_what_is_no_case_or_says_otherwise_is_refused_and_changes_nothing(run, tmp_path, words, reason):
    assert run("add", "classifier/3", "hello", "--expect", "billing").exit_code == 0
    before = [(tmp_path / name).read_bytes() for name in ("params.yaml", "tests/golden.csv")]
    done = run("add", "classifier/3", *words)
    assert isinstance(done.exception, Refused | WrongUse)
    assert re.search(reason, str(done.exception))
    assert [(tmp_path / name).read_bytes() for name in ("params.yaml", "tests/golden.csv")] == before


def test_check_asks_a_version_all_cases_and_refuses_it_by_their_names(run):
    assert run("check", "classifier@champion").exception.exit_code == Refused.exit_code
    run("add", "classifier/3", "a bill", "--expect", "billing")
    assert run("check", "classifier@champion").exit_code == 0
    run("add", "classifier/3", "a parcel", "--not-contains", "bill")
    done = run("check", "classifier@champion", "--json")
    assert str(done.exception) == "classifier@champion fails 1 of 2 golden cases: 'a parcel'"
    assert json.loads(done.stdout)["failed"] == ["a parcel"]


def test_a_schema_goes_into_the_file_itself(run, tmp_path):
    (tmp_path / "schema.json").write_text('{"type":\n "object"}', "utf-8")
    run("add", "writer/1", "as JSON", "--schema", "schema.json")
    (tmp_path / "schema.json").unlink()
    (case,) = golden_cases.read(params.load().evaluate.golden)
    assert case.schema == '{"type": "object"}'
