"""Further runs of the same clone: changed, refused, at the same time, killed, by DVC alone; and a stranger's first."""

import json
import os
import sqlite3
import time

import pandas as pd
import psutil
import pytest
from filelock import FileLock

from tests.support.classifier_runs import (
    QUEUES,
    aliases,
    artifacts,
    locked,
    output,
    report,
    runs,
    stages_run,
    store,
    versions,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def second(classifier_clone):
    """What was before, the plan, and the outcome of a run that lists fewer examples: the same model once more."""
    params = classifier_clone.folder / "params.yaml"
    text = params.read_text("utf-8")
    before = {"versions": len(versions(classifier_clone)), "aliases": aliases(classifier_clone)}
    params.write_text(text.replace("  examples: 20 ", "  examples: 7 "), "utf-8")
    before["plan"] = json.loads(classifier_clone.call("plan", "--json").stdout)
    params.write_text(text, "utf-8")
    return before, classifier_clone.retune("run", "-S", "evaluate.examples=7", timeout=300)


def test_a_changed_parameter_touches_only_its_stages(second):
    before, done = second
    assert {stage["name"]: stage["run"] for stage in before["plan"]["stages"]} == {
        "curate": False,
        "validate": False,
        "split": False,
        "train": False,
        "evaluate": True,
    }
    assert before["plan"]["stages"][-1]["why"] == ["evaluate.examples: 20 → 7"]
    assert stages_run(output(done)) == ["evaluate"]


def test_a_model_that_is_no_better_is_held(classifier_clone, second):
    before, done = second
    assert done.returncode == 1, output(done)
    assert "Traceback" not in output(done)
    held_version = versions(classifier_clone)[0]
    assert len(versions(classifier_clone)) == before["versions"] + 1
    assert aliases(classifier_clone) == {
        "champion": before["aliases"]["champion"],
        "challenger": int(held_version.version),
    }
    assert held_version.tags["decision"] == "held"
    assert "does not beat the champion" in held_version.tags["reason.2"]
    assert "does not beat the champion" in done.stdout
    assert store(classifier_clone).get_run(held_version.run_id).info.status == "FINISHED"


def test_refused_data_ends_the_run_before_training(classifier_clone):
    versions_before = len(versions(classifier_clone)), aliases(classifier_clone)
    model = locked(classifier_clone)["models/candidate"]
    params = classifier_clone.folder / "params.yaml"
    text = params.read_text("utf-8")
    try:
        done = classifier_clone.retune("run", "-S", "validate.min_rows=1000")
    finally:
        params.write_text(text, "utf-8")
    assert done.returncode == 1, output(done)
    assert "Traceback" not in output(done)
    assert "row_count" in output(done) or "expectations" in done.stderr
    assert stages_run(output(done)) == ["validate"]
    assert report(classifier_clone, "validate")["verdict"] == "refused"
    assert (classifier_clone.folder / "models/reports/data_docs/index.html").stat().st_size > 1000
    ended = runs(classifier_clone)[0]
    assert ended.info.status == "FAILED"
    assert ended.data.tags["mlflow.note.content"].startswith("validate ended this run")
    assert {"reports/validate.json", "reports/data_docs/index.html"} <= set(
        artifacts(classifier_clone, ended.info.run_id)
    )
    assert (len(versions(classifier_clone)), aliases(classifier_clone)) == versions_before
    assert locked(classifier_clone)["models/candidate"] == model


def test_a_second_run_at_the_same_time_is_refused(classifier_clone):
    before = len(runs(classifier_clone))
    with FileLock(classifier_clone.folder / ".retune/run.lock"):
        done = classifier_clone.retune("run", "-S", "evaluate.examples=9")
    assert done.returncode == 3
    assert "another run, ingest or forget is running" in done.stderr
    assert "Traceback" not in output(done)
    assert len(runs(classifier_clone)) == before


def kill_all(process):
    """kill -9, the flow first so that it can tidy nothing up."""
    family = [process, *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        member.kill()
    for member in family:
        member.wait(10)
    process.stdout.close()


def wait_for_checkpoint(classifier_clone, process, seconds=120):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if checkpoints := list((classifier_clone.folder / ".retune/checkpoints").glob("*/choose/step-*")):
            return checkpoints
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    raise AssertionError("no checkpoint was written")


@pytest.mark.timeout(1200)
def test_a_killed_run_goes_on_to_the_same_bits(classifier_clone):
    version_count = len(versions(classifier_clone))
    settings = {"train.seed": 5, "train.epochs": 2, "train.checkpoint_seconds": 0.5}
    words = [word for key, value in settings.items() for word in ("-S", f"{key}={value}")]
    process = classifier_clone.start("run", *words)
    try:
        wait_for_checkpoint(classifier_clone, process)
        before = (classifier_clone.folder / "params.yaml").read_bytes()
        other_run = classifier_clone.retune("run", "-S", "train.seed=6")
        assert other_run.returncode == 3
        assert "another run, ingest or forget is running" in other_run.stderr
        assert (classifier_clone.folder / "params.yaml").read_bytes() == before
    finally:
        kill_all(process)
    orphan = runs(classifier_clone)[0]
    assert orphan.info.status == "RUNNING"

    done = classifier_clone.retune("run", timeout=300)
    assert done.returncode in (0, 1), output(done)
    assert "Traceback" not in output(done)
    assert report(classifier_clone, "train")["resumed_from_step"] > 0
    assert "going on from the checkpoint" in output(done)
    assert len(versions(classifier_clone)) == version_count + 1
    assert store(classifier_clone).get_run(orphan.info.run_id).info.status == "KILLED"
    assert [run for run in runs(classifier_clone) if run.info.status == "RUNNING"] == []

    resumed = locked(classifier_clone)["models/candidate"]
    again = classifier_clone.dvc("repro", "--force", "--single-item", "train")
    assert again.returncode == 0, output(again)
    assert report(classifier_clone, "train")["resumed_from_step"] == 0
    assert locked(classifier_clone)["models/candidate"] == resumed


@pytest.mark.timeout(1200)
def test_dvc_alone_rebuilds_the_model_to_the_bit(classifier_clone):
    nowhere = type(classifier_clone)(
        classifier_clone.folder,
        {"PREFECT_API_URL": "http://127.0.0.1:9/api", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"},
    )
    process = nowhere.dvc("repro")
    assert process.returncode == 0, output(process)
    md5s = {path: md5 for path, md5 in locked(classifier_clone).items() if not path.startswith("models/reports/")}
    for path in ("models/candidate", "data/splits", "data/curated/rows.parquet"):
        target = classifier_clone.folder / path
        assert target.exists()
    forced = nowhere.dvc("repro", "--force")
    assert forced.returncode == 0, output(forced)
    assert stages_run(output(forced)) == ["curate", "validate", "split", "train", "evaluate"]
    assert {
        path: md5 for path, md5 in locked(classifier_clone).items() if not path.startswith("models/reports/")
    } == md5s


def test_a_strangers_file_runs_with_the_params_as_they_are_shipped(new_clone, tmp_path):
    """Other column names, no ids, no groups; no user in git, no home, no network, no server: a first contact."""
    home = tmp_path / "home"
    home.mkdir()
    away = "http://127.0.0.1:9"
    env = {
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "HTTP_PROXY": away,
        "HTTPS_PROXY": away,
        "NO_PROXY": "127.0.0.1,localhost",
    }
    clone = new_clone(tmp_path / "clone", **env)
    tickets = pd.read_csv(clone.folder / "tests/samples/tickets.csv", dtype="str", keep_default_na=False)
    some = tickets[tickets["queue"].isin(QUEUES[:3]) & (tickets["body"].str.len() > 40)].groupby("queue").head(50)
    renamed_rows = some[["body", "queue"]].rename(columns={"body": "Kundentext", "queue": "Team"})
    renamed_rows.to_csv(clone.folder / "own.csv", index=False)
    shipped = (clone.folder / "params.yaml").read_bytes()

    ingested = clone.retune("ingest", "own.csv", "--text", "Kundentext", "--label", "Team", "--json")
    assert json.loads(ingested.stdout)["added"] == 150
    done = clone.retune("run", timeout=500)
    assert done.returncode in (0, 1), output(done)
    assert "Registered classifier/1" in done.stdout
    assert "Traceback" not in output(done)
    assert (clone.folder / "params.yaml").read_bytes() == shipped
    with sqlite3.connect(clone.folder / ".retune/mlflow.db") as database:
        assert database.execute("select count(*) from model_versions").fetchone() == (1,)
    file_names = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}
    assert {name for name in file_names if "matplotlib" not in name} == set()  # matplotlib's list of fonts is a cache
