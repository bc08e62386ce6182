import copy

import pytest
import yaml

from retune.errors import Refused
from retune.system import dvc_pipeline


def entry(path, md5):
    return {"path": path, "hash": "md5", "md5": md5}


LOCK = {
    "curate": {"cmd": "c", "deps": [entry("data/raw", "0.dir")], "outs": [entry("data/curated/rows.parquet", "1")]},
    "split": {"cmd": "s", "outs": [entry(f"data/splits/{side}.parquet", side) for side in ("train", "val", "test")]},
    "train": {
        "cmd": "t",
        "deps": [entry("data/splits/train.parquet", "train"), entry("tasks/train/encoder/fit.py", "2")],
        "params": {"params.yaml": {"train": {"seed": 1, "epochs": 3}}},
        "outs": [entry("models/candidate", "3.dir"), entry("models/reports/train.json", "4")],
    },
    "evaluate": {
        "cmd": "e",
        "deps": [entry("models/candidate", "3.dir"), entry("data/splits/test.parquet", "test")],
        "params": {"params.yaml": {"evaluate": {"seed": 1}}},
        "outs": [entry("models/reports/evaluate.json", "5")],
    },
}


@pytest.fixture
def fingerprint(tmp_path, monkeypatch):
    """The fingerprint of LOCK after a change to it."""
    monkeypatch.chdir(tmp_path)

    def of(change=lambda stages: None):
        stages = copy.deepcopy(LOCK)
        change(stages)
        (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
        return dvc_pipeline.fingerprint()

    return of


def set_md5(stage, kind, number, md5="other"):
    return lambda stages: stages[stage][kind][number].update(md5=md5)


@pytest.mark.parametrize(
    "change",
    [
        set_md5("train", "deps", 0),
        set_md5("train", "deps", 1),
        set_md5("evaluate", "deps", 1),
        lambda stages: stages["train"].update(cmd="other"),
        lambda stages: stages["train"]["params"]["params.yaml"]["train"].update(seed=2),
        lambda stages: stages["evaluate"]["params"]["params.yaml"]["evaluate"].update(seed=2),
    ],
    ids=["train data", "code", "test data", "command", "seed of training", "seed of evaluation"],
)
def test_whatever_a_model_follows_from_changes_its_fingerprint(fingerprint, change):
    assert fingerprint(change) != fingerprint()


@pytest.mark.parametrize(
    "change",
    [
        set_md5("train", "outs", 0),
        set_md5("train", "outs", 1),
        set_md5("evaluate", "deps", 0),
        set_md5("evaluate", "outs", 0),
        set_md5("curate", "deps", 0),
        lambda stages: stages["train"]["params"]["params.yaml"].update(train={"epochs": 3, "seed": 1}),
    ],
    ids=["weights", "seconds", "weights read", "scores", "raw rows that no side holds", "order of params"],
)
def test_what_training_made_and_what_it_never_saw_leave_the_fingerprint_alone(fingerprint, change):
    assert fingerprint(change) == fingerprint()


@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_a_model_that_is_not_scored_yet_has_no_fingerprint(fingerprint, stage):
    with pytest.raises(Refused, match=f"{stage} has not run"):
        fingerprint(lambda stages: stages.pop(stage))


def test_nothing_has_run_in_a_fresh_clone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert dvc_pipeline.lock() == {}
    with pytest.raises(Refused, match="train, evaluate has not run"):
        dvc_pipeline.fingerprint()


def test_the_hashes_are_those_of_the_lock(fingerprint):
    fingerprint()
    hashes = dvc_pipeline.hashes()
    assert (hashes["data/raw"], hashes["data/splits/test.parquet"]) == ("0.dir", "test")


def test_the_hash_of_one_path_is_found_in_the_bytes_of_a_lock():
    stages = {"curate": {"outs": [entry("data/rows.parquet", "a"), entry("data/rejects.parquet", "b")]}}
    lock = yaml.safe_dump({"schema": "2.0", "stages": stages}, sort_keys=False).encode()
    assert dvc_pipeline.md5_in(lock, "data/rejects.parquet") == "b"
    assert dvc_pipeline.md5_in(lock, "data/rejects") is None
