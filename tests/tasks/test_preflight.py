"""The audit of the rows that are here, wherever on the road they are."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from retune.config import params
from retune.config.generation import ReplayFile
from retune.data import row_table
from retune.errors import WrongUse
from retune.lineage import parent_version
from retune.models.base_model import weights_sha256
from retune.preflight import compute_estimate, memory_check
from retune.system.free_memory import AvailableMemory
from tasks.preflight import CURATED, GENERAL, PICTURE, RAW, SPLITS, run_preflight, run_text_preflight
from tests.support.environment import ROOT
from tests.support.git_repo import git, init_repository


@pytest.fixture
def config(tiny_causal_lm, tmp_path, monkeypatch):
    """The shipped params of task instruct, for the tiny base."""
    monkeypatch.chdir(tmp_path)
    values = yaml.safe_load((ROOT / "retune/config/defaults/instruct.yaml").read_text("utf-8"))
    values["train"] |= {
        "base": {"name": f"folder:{tiny_causal_lm}", "sha256": weights_sha256(tiny_causal_lm)},
        "device": "cpu",
        "template": "chatml",
        "max_tokens": 200,
    }
    return params.parse(values)


def test_the_rows_are_taken_where_they_have_come_to(config, make_replies):
    with pytest.raises(WrongUse, match="no records yet"):
        run_preflight(config)
    rows = make_replies(30)
    row_table.write(pd.concat([rows, rows.head(3)]), RAW / "00001-x.parquet")
    outcome = run_preflight(config)
    assert (outcome.ok, outcome.rows_from, outcome.figures["rows"]) == (True, "data/raw, not curated yet", 30)
    assert PICTURE.read_bytes().startswith(b"\x89PNG")
    row_table.write(rows.head(20), CURATED)
    assert (run_preflight(config).rows_from, run_preflight(config).figures["rows"]) == (str(CURATED), 20)
    json.dumps(outcome.report())


def test_rows_that_have_come_in_since_are_audited_and_not_those_of_the_last_run(config, make_replies):
    """What DVC knows of data/raw, and of what each stage last read, tells how far the newest rows have come."""
    rows = make_replies(30)
    row_table.write(rows, RAW / "00001-x.parquet")
    row_table.write(rows.head(25), CURATED)
    for name, side in zip(row_table.SPLITS, (rows.head(10), rows[10:15], rows[15:20]), strict=True):
        row_table.write(side, SPLITS / f"{name}.parquet")

    def lock(raw, curated_of, curated, split_of):
        Path("data/raw.dvc").write_text(yaml.safe_dump({"outs": [{"md5": raw, "path": "raw"}]}))
        stages = {
            "curate": {
                "deps": [{"path": "data/raw", "md5": curated_of}],
                "outs": [{"path": str(CURATED), "md5": curated}],
            },
            "split": {"deps": [{"path": str(CURATED), "md5": split_of}]},
        }
        Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))

    one, newer = f"{'1' * 32}.dir", f"{'2' * 32}.dir"
    lock(one, one, "two", "two")
    assert (run_preflight(config).rows_from, run_preflight(config).figures["rows"]) == (str(SPLITS), 20)
    lock(one, one, "newer", "two")
    assert (run_preflight(config).rows_from, run_preflight(config).figures["rows"]) == (str(CURATED), 25)
    lock(newer, one, "two", "two")
    assert (run_preflight(config).rows_from, run_preflight(config).figures["rows"]) == ("data/raw, not curated yet", 30)


def test_the_estimate_counts_what_is_learned_from_and_no_other_side(config, make_replies):
    rows = make_replies(40)
    row_table.write(rows, CURATED)
    whole = run_preflight(config)
    train_share = 1 - config.split.val_share - config.split.test_share
    assert whole.effort.tokens == pytest.approx(
        train_share * config.train.epochs * whole.figures["trained_tokens"], abs=3
    )
    for name, side in zip(row_table.SPLITS, (rows.head(20), rows[20:30], rows[30:]), strict=True):
        row_table.write(side, SPLITS / f"{name}.parquet")
    report = run_preflight(config)
    assert report.effort.tokens == pytest.approx(config.train.epochs * report.figures["trained_tokens"] / 2, abs=3)


def test_a_prompt_that_was_split_over_two_sides_is_refused_with_its_rows(config, make_replies):
    rows = make_replies(30)
    sides = {"train": rows.head(20), "val": rows.iloc[20:25], "test": pd.concat([rows.iloc[25:], rows.head(1)])}
    for name, side in sides.items():
        row_table.write(side, SPLITS / f"{name}.parquet")
    outcome = run_preflight(config)
    (failed,) = [finding for finding in outcome.findings if not finding.success]
    assert (outcome.ok, failed.name, set(failed.examples)) == (False, "prompts_apart", {rows["id"].iloc[0]})


def test_an_estimate_says_steps_time_and_memory(config, make_replies):
    row_table.write(make_replies(30), CURATED)
    effort = run_preflight(config).effort
    assert effort.steps >= config.train.epochs
    assert effort.seconds > 0
    assert 0 < effort.certain_bytes < effort.bytes < 2**30


def test_the_audit_says_whether_the_training_fits_into_this_machine(config, make_replies, monkeypatch):
    row_table.write(make_replies(30), CURATED)
    assert run_preflight(config).memory.verdict == "fits"
    monkeypatch.setattr(memory_check, "find", lambda cuda: AvailableMemory(2**19, "in a thimble"))
    outcome = run_preflight(config)
    assert outcome.memory.verdict == "too large"
    assert "are free in a thimble" in outcome.memory.message
    assert outcome.ok, "the rows are as good as before"
    json.dumps(outcome.report())


def test_what_preferences_take_hangs_on_the_version_that_they_are_learned_on(config, make_replies):
    """A whole network stays in float32 under them; which it was says the record of that version, in git."""
    values = yaml.safe_load((ROOT / "retune/config/defaults/prefer.yaml").read_text("utf-8"))
    same = {name: getattr(config.train.base, name) for name in ("name", "sha256")}
    values["train"] |= {"base": same, "device": "cpu", "precision": "bf16", "template": "chatml", "max_tokens": 200}
    pairs = make_replies(30)
    row_table.write(pairs.assign(rejected=[f"No. {label}" for label in pairs["label"]]), CURATED)
    unknown = run_preflight(params.parse(values)).effort.certain_bytes
    record = Path("models/reports/train.json")
    record.parent.mkdir(parents=True)
    record.write_text('{"method": "full"}')
    parent_version.write(
        parent_version.ParentVersion(
            "writer/1", "0" * 64, committed(), "0" * 64, f"{'0' * 32}.dir", "0" * 32, "0" * 32, False
        )
    )
    outcome = run_preflight(params.parse(values)).effort
    weights = compute_estimate.shape_of(Path(same["name"].removeprefix("folder:"))).parameters
    assert outcome.certain_bytes - unknown == 2 * weights


def committed():
    """All of this folder in a new repository; returns the commit."""
    init_repository(".")
    git("add", "-A")
    git("commit", "-qm", "made")
    return git("rev-parse", "HEAD")


def test_the_audit_says_the_licence_of_the_base_or_that_none_is_stated(config, make_replies):
    row_table.write(make_replies(30), CURATED)
    assert run_preflight(config).base["name"] == config.train.base.name
    assert run_preflight(config).base["licence"].startswith("not stated")


def test_of_a_classifier_the_texts_that_are_cut_are_counted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
    values["validate"]["max_truncated_share"] = 0.2
    rows = pd.DataFrame({"id": ["a", "b", "c"], "text": ["short", "word " * 200, "words"], "label": "x", "given": ""})
    row_table.write(rows.assign(group="", source="")[list(row_table.COLUMNS)].astype("str"), RAW / "00001-x.parquet")
    outcome = run_text_preflight(params.parse(values))
    assert (outcome.ok, outcome.figures["longer_than_max_tokens"]) == (False, 1)
    assert outcome.findings[0].examples == ["b"]
    assert PICTURE.read_bytes().startswith(b"\x89PNG")
    json.dumps(outcome.report())


def test_rows_of_another_task_have_nothing_to_audit(config, make_replies):
    row_table.write(make_replies(3).drop(columns="label"), CURATED)
    with pytest.raises(WrongUse, match="has no column label"):
        run_preflight(config)


def test_general_examples_are_looked_at_apart_and_add_to_the_effort(config, make_replies, tmp_path):
    row_table.write(make_replies(30), CURATED)
    before = run_preflight(config)
    assert before.general is None
    row_table.write(make_replies(20, seed=9), GENERAL)
    config = replace(config, train=replace(config.train, replay_share=0.25))
    outcome = run_preflight(config)
    assert (outcome.ok, outcome.figures, outcome.general["rows"]) == (True, before.figures, 20)
    assert 1.2 < outcome.effort.tokens / before.effort.tokens < 1.5
    row_table.write(make_replies(20, seed=9).assign(label=" "), GENERAL)
    outcome = run_preflight(config)
    assert not outcome.ok
    assert {each.name for each in outcome.findings if not each.success} == {"general_supervised"}


def test_before_anything_is_curated_they_are_read_from_their_files(config, make_replies, tmp_path):
    row_table.write(make_replies(30), RAW / "00001-x.parquet")
    file = tmp_path / "own.csv"
    file.write_text("prompt,completion\nwho?,she\n", "utf-8")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    named = replace(config.curate, replay=[ReplayFile(str(file), digest)])
    assert run_preflight(replace(config, curate=named)).general["rows"] == 1
