"""The real thing, end to end: the real command, encoder, DVC, MLflow and a Prefect server, on a slice of the sample.

The tests share one clone and stand in the order of its story; each compares with what it found, so any of them
can also run alone.
"""

import json
import os
import sqlite3
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml
from filelock import FileLock

QUEUES = ["billing", "delivery", "sign_in", "refunds"]
SMALL = {
    "train.max_tokens": 32,
    "train.epochs": 1,
    "train.batch_size": 16,
    "train.refit": False,
    "evaluate.bootstrap": 100,
    "promote.bootstrap": 200,
    "promote.confidence": 0.6,
    "register.reload_rows": 8,
}
TAGS = {
    "fingerprint",
    "git.commit",
    "git.dirty",
    "record.name",
    "record.commit",
    "data.raw",
    "data.train",
    "data.val",
    "data.test",
    "base.name",
    "base.licence",
    "base.revision",
    "base.sha256",
    "lock.sha256",
    "prefect.run",
    "validation",
}


@pytest.fixture(scope="module")
def classifier_clone(new_clone, prefect_url, tmp_path_factory, module_webhook):
    """A clone with a slice of the sample and one finished run, and two channels, of which one takes nothing."""
    port, _ = module_webhook
    channels = f"json://127.0.0.1:{port}/no/ json://127.0.0.1:{port}"
    classifier_clone = new_clone(
        tmp_path_factory.mktemp("house"), PREFECT_API_URL=prefect_url, RETUNE_NOTIFY_URLS=channels
    )
    tickets = pd.read_csv(classifier_clone.folder / "tests/samples/tickets.csv", dtype="str", keep_default_na=False)
    tickets = tickets[tickets["queue"].isin(QUEUES)].groupby("queue").head(65)
    tickets.to_csv(classifier_clone.folder / "slice.csv", index=False)
    ingested = classifier_clone.retune(
        "ingest", "slice.csv", "--text", "body", "--label", "queue", "--id", "ticket_id", "--group", "customer_id"
    )
    assert ingested.returncode == 0, ingested.stderr
    classifier_clone.ran = classifier_clone.retune(
        "run", *(word for key, value in SMALL.items() for word in ("-S", f"{key}={value}")), timeout=300
    )
    assert classifier_clone.ran.returncode == 0, classifier_clone.ran.stdout + classifier_clone.ran.stderr
    return classifier_clone


# ---- what is in the registry


def store(classifier_clone):
    import mlflow

    return mlflow.MlflowClient(f"sqlite:///{classifier_clone.folder}/.retune/mlflow.db")


def versions(classifier_clone):
    """Newest first."""
    versions_found = store(classifier_clone).search_model_versions("name = 'classifier'")
    return sorted(versions_found, key=lambda version: int(version.version), reverse=True)


def runs(classifier_clone):
    """Newest first."""
    experiment = store(classifier_clone).get_experiment_by_name("classifier")
    return list(store(classifier_clone).search_runs([experiment.experiment_id], order_by=["start_time DESC"]))


def aliases(classifier_clone):
    return {
        alias: int(version)
        for alias, version in store(classifier_clone).get_registered_model("classifier").aliases.items()
    }


def artifacts(classifier_clone, run_id, folder=None):
    paths = []
    for entry in store(classifier_clone).list_artifacts(run_id, folder):
        paths += artifacts(classifier_clone, run_id, entry.path) if entry.is_dir else [entry.path]
    return paths


def locked(classifier_clone):
    """path -> md5 of every file in dvc.lock."""
    stages = yaml.safe_load((classifier_clone.folder / "dvc.lock").read_text("utf-8"))["stages"]
    return {item["path"]: item["md5"] for stage in stages.values() for kind in ("deps", "outs") for item in stage[kind]}


def report(classifier_clone, stage):
    return json.loads((classifier_clone.folder / f"models/reports/{stage}.json").read_text("utf-8"))


def stages_run(output):
    """The stages that a run's log says have run."""
    return [line.split("'")[-2] for line in output.splitlines() if "Running stage '" in line]


def output(done):
    return done.stdout + done.stderr


# ---- one run


def test_the_clones_own_code_is_what_runs(classifier_clone):
    process = classifier_clone.python(
        "-c", "import flows.cli, retune.config.params; print(flows.cli.__file__, retune.config.params.__file__)"
    )
    assert all(Path(path).is_relative_to(classifier_clone.folder) for path in process.stdout.split())


def test_one_command_makes_a_champion(classifier_clone):
    (version,) = [version for version in versions(classifier_clone) if int(version.version) == 1]
    assert stages_run(output(classifier_clone.ran)) == ["curate", "validate", "split", "train", "evaluate"]
    assert "Registered classifier/1: champion." in classifier_clone.ran.stdout
    assert "retune ui" in classifier_clone.ran.stdout and "report.html" in classifier_clone.ran.stdout
    assert "data_docs/index.html" in classifier_clone.ran.stdout
    assert version.tags["decision"] == "champion"
    assert "beats the base" in version.tags["reason.1"]
    assert not (classifier_clone.folder / "mlruns").exists() and not (classifier_clone.folder / "mlflow.db").exists()


def test_others_hear_of_the_champion_and_a_channel_that_is_away_breaks_no_run(classifier_clone, module_webhook):
    _, notifications = module_webhook
    (notification,) = notifications
    assert notification["title"] == "classifier/1: promoted"
    assert notification["message"].startswith("classifier/1 was made with `retune run` by ")
    assert "beats the base" in notification["message"]
    assert "channel 1 (json) did not take the message" in classifier_clone.ran.stderr


def test_a_version_says_what_it_was_made_from(classifier_clone):
    version = versions(classifier_clone)[-1]
    tags, hashes = version.tags, locked(classifier_clone)
    assert set(tags) >= TAGS
    assert all(tags[name] for name in TAGS)
    assert tags["data.raw"] == hashes["data/raw"]
    for side in ("train", "val", "test"):
        assert tags[f"data.{side}"] == hashes[f"data/splits/{side}.parquet"]
    assert tags["git.commit"] == classifier_clone.git("rev-parse", "HEAD").strip()
    assert tags["git.dirty"] == "true"  # the settings stand in params.yaml
    assert tags["validation"] == "accepted"
    recorded = yaml.safe_load(classifier_clone.git("show", f"{tags['record.commit']}:params.yaml"))
    assert recorded["train"]["max_tokens"] == SMALL["train.max_tokens"]
    assert hashes["data/raw"] in classifier_clone.git("show", f"{tags['record.commit']}:data/raw.dvc")
    assert hashes["models/candidate"] in classifier_clone.git("show", f"{tags['record.commit']}:dvc.lock")
    assert tags["record.name"] in classifier_clone.dvc("exp", "list", "--name-only").stdout


def test_a_run_shows_all_that_a_data_scientist_looks_for(classifier_clone):
    run = store(classifier_clone).get_run(versions(classifier_clone)[-1].run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["train.method"] == "full"
    assert run.data.params["train.max_tokens"] == "32"
    assert {
        "accuracy",
        "macro_f1",
        "base_macro_f1",
        "probe_macro_f1",
        "gain_over_base",
        "curves/train_loss",
        "curves/val_macro_f1",
    } <= set(run.data.metrics)
    assert run.data.metrics["macro_f1"] == report(classifier_clone, "evaluate")["macro_f1"]
    assert [name for name in run.data.metrics if name.startswith("system/")]
    steps = [metric.step for metric in store(classifier_clone).get_metric_history(run.info.run_id, "curves/train_loss")]
    assert len(steps) > 1 and len(set(steps)) == len(steps)
    files = artifacts(classifier_clone, run.info.run_id)
    expected_files = ["model_card.md", "report.html", "data_docs/index.html"]
    expected_files += [f"plots/{name}.png" for name in ("scores/confusion", "scores/reliability", "learning_curve")]
    expected_files += [f"recipe/{name}" for name in ("dvc.lock", "dvc.yaml", "params.yaml", "requirements.lock")]
    expected_files += [f"reports/{stage}.json" for stage in ("curate", "validate", "split", "train", "evaluate")]
    assert sorted(set(expected_files) - set(files)) == []


def test_the_datasets_of_a_run_are_named_by_their_dvc_hash(classifier_clone):
    run = store(classifier_clone).get_run(versions(classifier_clone)[-1].run_id)
    digests = {entry.dataset.name: entry.dataset.digest for entry in run.inputs.dataset_inputs}
    hashes = locked(classifier_clone)
    assert digests == {side: hashes[f"data/splits/{side}.parquet"] for side in ("train", "val", "test")}


def test_the_list_of_models_is_json_for_other_programs(classifier_clone):
    models = json.loads(classifier_clone.call("models", "--json").stdout)
    assert [entry["version"] for entry in models] == [int(version.version) for version in versions(classifier_clone)]
    first = models[-1]
    assert set(first) >= {"name", "version", "aliases", "fingerprint", "created", "metrics", "base_metrics", "data"}
    assert first["name"] == "classifier"
    assert {"accuracy", "macro_f1"} <= set(first["metrics"]) & set(first["base_metrics"])
    assert first["data"] == {
        name: versions(classifier_clone)[-1].tags[f"data.{name}"] for name in ("raw", "train", "val", "test")
    }


# ---- the registered model


LOAD = """
import json, sys, mlflow, pandas, torch, transformers
unpickled = []
sys.addaudithook(lambda event, arguments: unpickled.append(arguments) if event == "pickle.find_class" else None)
model = mlflow.pyfunc.load_model("models:/classifier@champion")
predictions = model.predict(pandas.DataFrame({"text": json.load(sys.stdin)}))
print(json.dumps([predictions.to_dict("records"), [str(each) for each in unpickled]]))
"""


def test_the_champion_loads_with_mlflow_alone_in_a_clean_process(classifier_clone, tmp_path):
    predictions = pd.read_parquet(classifier_clone.folder / "models/reports/predictions.parquet").head(5)
    texts = (
        pd.read_parquet(classifier_clone.folder / "data/splits/test.parquet")
        .set_index("id")
        .loc[predictions["id"], "text"]
        .tolist()
    )
    champion = versions(classifier_clone)[-1]
    env = {"MLFLOW_TRACKING_URI": f"sqlite:///{classifier_clone.folder}/.retune/mlflow.db", "PYTHONPATH": ""}
    elsewhere = type(classifier_clone)(tmp_path, {**env, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"})
    done = elsewhere.python("-I", "-c", LOAD, input_text=json.dumps(texts))
    assert done.returncode == 0, done.stderr
    labels, unpickled = json.loads(done.stdout.splitlines()[-1])
    assert unpickled == []
    assert aliases(classifier_clone)["champion"] == int(champion.version)
    assert [row["label"] for row in labels] == predictions["predicted"].tolist()
    assert [row["confidence"] for row in labels] == pytest.approx(predictions["confidence"].tolist(), abs=1e-4)
    root = classifier_clone.folder / ".retune/artifacts"
    assert not [file for file in root.rglob("*") if file.suffix in (".pkl", ".pickle", ".pt", ".pth", ".bin")]


def test_predict_labels_the_lines_of_standard_input(classifier_clone):
    done = classifier_clone.retune(
        "predict", "classifier@champion", "-", "--json", input_text="Where is my parcel?\nI was charged twice\n"
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [row["text"] for row in report] == ["Where is my parcel?", "I was charged twice"]
    assert all(row["label"] in QUEUES and 0 < row["confidence"] <= 1 for row in report)


def test_empty_standard_input_is_exit_1(classifier_clone):
    done = classifier_clone.retune("predict", "classifier@champion", "-", input_text="")
    assert done.returncode == 1
    assert "standard input is empty" in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
def test_predict_labels_its_arguments_in_a_table(classifier_clone):
    done = classifier_clone.retune("predict", "classifier/1", "Where is my parcel?", "I was charged twice")
    assert done.returncode == 0, done.stderr
    header, *rows = done.stdout.splitlines()
    assert header.split() == ["label", "confidence", "text"]
    assert [row.split(maxsplit=2)[2] for row in rows] == ["Where is my parcel?", "I was charged twice"]


# ---- the second run


def test_an_unchanged_second_run_registers_nothing(classifier_clone):
    before = len(versions(classifier_clone)), len(runs(classifier_clone)), aliases(classifier_clone)
    done = classifier_clone.retune("run")
    assert done.returncode == 0, output(done)
    assert "Nothing changed since classifier/" in done.stdout
    assert stages_run(output(done)) == []
    assert (len(versions(classifier_clone)), len(runs(classifier_clone)), aliases(classifier_clone)) == before


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


# ---- refusals


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


# ---- resume, rebuild, strangers


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_the_interpreter_of_the_tests_is_that_of_the_stages(classifier_clone):
    path = classifier_clone.python("-c", "import shutil; print(shutil.which('python'))").stdout.strip()
    assert Path(path).parent == Path(sys.executable).parent
