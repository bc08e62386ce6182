import copy
import os
import subprocess

import pytest
import yaml

from retune.errors import Refused, WrongUse
from retune.system import dvc_pipeline, git


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
    known = dvc_pipeline.hashes()
    assert (known["data/raw"], known["data/splits/test.parquet"]) == ("0.dir", "test")


def test_outside_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert git.commit() == ("none", False)


# ---- who


@pytest.fixture
def nobody(tmp_path, monkeypatch):
    """A clone of which nobody has told git who works there."""
    for who in ("AUTHOR", "COMMITTER"):
        for what in ("NAME", "EMAIL"):
            monkeypatch.delenv(f"GIT_{who}_{what}", raising=False)
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    return monkeypatch


def configure(**values):
    for name, value in values.items():
        subprocess.run(["git", "config", f"user.{name}", value], check=True)


def test_what_runs_by_itself_needs_no_person_and_a_decision_does(nobody):
    assert "@" in git.identity(), "the account"
    with pytest.raises(WrongUse, match=r"no user\.name and no user\.email here.*GIT_AUTHOR_NAME"):
        git.require_person()


def test_a_name_without_a_mail_is_half_a_person(nobody):
    configure(name="A. Tester")
    with pytest.raises(WrongUse, match=r"knows no user\.email here"):
        git.require_person()


@pytest.mark.parametrize("how", ["config", "AUTHOR", "COMMITTER"])
def test_a_person_is_who_git_or_the_environment_names_and_signs_what_is_decided(nobody, how):
    if how == "config":
        configure(name="A. Tester", email="tester@example.com")
    else:
        nobody.setenv(f"GIT_{how}_NAME", "A. Tester")
        nobody.setenv(f"GIT_{how}_EMAIL", "tester@example.com")
    assert git.require_person() == "A. Tester <tester@example.com>"
    env = {**os.environ, **git.author_variables()}
    subprocess.run(["git", "commit", "-q", "--allow-empty", "-m", "start"], check=True, env=env)
    subprocess.run(["git", "tag", "-a", "-m", "so be it", "decided"], check=True, env=env)
    tagger = ["git", "for-each-ref", "--format=%(taggername) %(taggeremail)", "refs/tags/decided"]
    told = subprocess.run(tagger, capture_output=True, text=True, check=True).stdout
    assert told == "A. Tester <tester@example.com>\n"
