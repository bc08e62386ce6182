import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from retune.registry import backend, runs

pytestmark = pytest.mark.usefixtures("sqlite_registry")


def run_of(run_id):
    return backend.client().get_run(run_id)


def test_a_run_ends_with_its_true_status(model_names):
    name = next(model_names)
    with runs.run(name, "fine", {"kind": "a"}) as fine:
        assert run_of(fine).info.status == "RUNNING"
    with pytest.raises(ZeroDivisionError), runs.run(name, "failed", {}) as failed:
        raise ZeroDivisionError
    with pytest.raises(KeyboardInterrupt), runs.run(name, "killed", {}) as killed:
        raise KeyboardInterrupt
    assert [run_of(each).info.status for each in (fine, failed, killed)] == ["FINISHED", "FAILED", "KILLED"]
    assert run_of(fine).data.tags["kind"] == "a"


def test_a_run_is_named_after_the_version_that_came_of_it_once(model_names):
    with runs.run(next(model_names), "micro-lion", {runs.SOURCE: "retune run"}) as run_id:
        for _ in range(2):  # a run that was killed logs again
            runs.name_after(run_id, 7)
    assert run_of(run_id).info.run_name == "v7 micro-lion"
    assert run_of(run_id).data.tags[runs.SOURCE] == "retune run"


def test_a_run_is_its_own_whatever_run_a_parent_job_has_in_the_environment(model_names, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "0123456789abcdef0123456789abcdef")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "987654")
    name = next(model_names)
    with runs.run(name, "own", {}) as run_id:
        assert run_id != "0123456789abcdef0123456789abcdef"
    experiment = backend.client().get_experiment_by_name(name)
    assert run_of(run_id).info.experiment_id == experiment.experiment_id


def test_a_run_whose_process_was_killed_is_ended_by_the_next_and_one_that_lives_is_not(
    model_names, sqlite_registry, start_program
):
    name = next(model_names)
    program = (
        "import time; from retune.registry import runs\n"
        f"with runs.run({name!r}, 'lost', {{}}) as run_id: print(run_id, flush=True); time.sleep(600)"
    )
    process = start_program(program, sqlite_registry)
    try:
        lost_run_id = process.stdout.readline().strip()
        experiment = run_of(lost_run_id).info.experiment_id
        assert runs.close_orphans(experiment) == [], "its process still lives"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert run_of(lost_run_id).info.status == "RUNNING", "kill -9 leaves it so"
    with runs.run(name, "next", {}) as following:
        assert run_of(lost_run_id).info.status == "KILLED"
        assert run_of(following).info.status == "RUNNING"
        assert runs.close_orphans(experiment) == []
    assert "ended_by" in run_of(lost_run_id).data.tags


def test_a_run_of_another_machine_is_nobodys_orphan_here(model_names):
    name = next(model_names)
    with runs.run(name, "here", {}) as run_id:
        runs.set_tags(run_id, {"process": "another-host 1@0"})
        assert runs.close_orphans(run_of(run_id).info.experiment_id) == []


def test_a_curve_is_completed_and_nothing_is_logged_twice(model_names):
    points = pd.DataFrame({"step": [1, 2, 3], "train_loss": [0.9, 0.8, 0.7], "val_loss": [np.nan, np.nan, 0.6]})
    with runs.run(next(model_names), "curve", {}) as run_id:
        runs.log_progress(run_id, 1, {"train_loss": 0.9})  # seen live
        for _ in range(2):
            runs.log_curve(run_id, points)
        losses = backend.client().get_metric_history(run_id, "curves/train_loss")
        assert [(point.step, point.value) for point in losses] == [(1, 0.9), (2, 0.8), (3, 0.7)]
        assert [point.step for point in backend.client().get_metric_history(run_id, "curves/val_loss")] == [3]


def test_params_are_flat_whatever_their_number(model_names):
    many = {f"p{number}": number for number in range(150)}
    with runs.run(next(model_names), "params", {}) as run_id:
        runs.log_params(run_id, {"train": {"lora": {"rank": 16}}, "many": many})
    logged = run_of(run_id).data.params
    assert logged["train.lora.rank"] == "16"
    assert logged["many.p149"] == "149"


def test_a_dataset_carries_the_digest_of_dvc(model_names):
    with runs.run(next(model_names), "data", {}) as run_id:
        runs.log_dataset(run_id, "train", Path("data/splits/train.parquet"), "0123abcd", "training")
    (used,) = run_of(run_id).inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("train", "0123abcd")
    assert {tag.key: tag.value for tag in used.tags} == {"mlflow.data.context": "training"}
