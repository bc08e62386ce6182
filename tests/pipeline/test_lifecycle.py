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
def house(new_clone, prefect_url, tmp_path_factory, module_webhook):
    """A clone with a slice of the sample and one finished run, and two channels, of which one takes nothing."""
    port, _ = module_webhook
    channels = f"json://127.0.0.1:{port}/no/ json://127.0.0.1:{port}"
    made = new_clone(tmp_path_factory.mktemp("house"), PREFECT_API_URL=prefect_url, RETUNE_NOTIFY_URLS=channels)
    tickets = pd.read_csv(made.folder / "tests/samples/tickets.csv", dtype="str", keep_default_na=False)
    tickets = tickets[tickets["queue"].isin(QUEUES)].groupby("queue").head(65)
    tickets.to_csv(made.folder / "slice.csv", index=False)
    ingested = made.retune(
        "ingest", "slice.csv", "--text", "body", "--label", "queue", "--id", "ticket_id", "--group", "customer_id"
    )
    assert ingested.returncode == 0, ingested.stderr
    made.ran = made.retune(
        "run", *(word for key, value in SMALL.items() for word in ("-S", f"{key}={value}")), timeout=300
    )
    assert made.ran.returncode == 0, made.ran.stdout + made.ran.stderr
    return made


# ---- what is in the registry


def store(house):
    import mlflow

    return mlflow.MlflowClient(f"sqlite:///{house.folder}/.retune/mlflow.db")


def versions(house):
    """Newest first."""
    found = store(house).search_model_versions("name = 'classifier'")
    return sorted(found, key=lambda version: int(version.version), reverse=True)


def runs(house):
    """Newest first."""
    experiment = store(house).get_experiment_by_name("classifier")
    return list(store(house).search_runs([experiment.experiment_id], order_by=["start_time DESC"]))


def aliases(house):
    return {alias: int(version) for alias, version in store(house).get_registered_model("classifier").aliases.items()}


def artifacts(house, run_id, folder=None):
    found = []
    for entry in store(house).list_artifacts(run_id, folder):
        found += artifacts(house, run_id, entry.path) if entry.is_dir else [entry.path]
    return found


def locked(house):
    """path -> md5 of every file in dvc.lock."""
    stages = yaml.safe_load((house.folder / "dvc.lock").read_text("utf-8"))["stages"]
    return {item["path"]: item["md5"] for stage in stages.values() for kind in ("deps", "outs") for item in stage[kind]}


def report(house, stage):
    return json.loads((house.folder / f"models/reports/{stage}.json").read_text("utf-8"))


def stages_run(told):
    """The stages that a run's log says have run."""
    return [line.split("'")[-2] for line in told.splitlines() if "Running stage '" in line]


def output(done):
    return done.stdout + done.stderr


# ---- one run


def test_the_clones_own_code_is_what_runs(house):
    told = house.python(
        "-c", "import flows.cli, retune.config.params; print(flows.cli.__file__, retune.config.params.__file__)"
    )
    assert all(Path(path).is_relative_to(house.folder) for path in told.stdout.split())


def test_one_command_makes_a_champion(house):
    (version,) = [version for version in versions(house) if int(version.version) == 1]
    assert stages_run(output(house.ran)) == ["curate", "validate", "split", "train", "evaluate"]
    assert "Registered classifier/1: champion." in house.ran.stdout
    assert "retune ui" in house.ran.stdout and "report.html" in house.ran.stdout
    assert "data_docs/index.html" in house.ran.stdout
    assert version.tags["decision"] == "champion"
    assert "beats the base" in version.tags["reason.1"]
    assert not (house.folder / "mlruns").exists() and not (house.folder / "mlflow.db").exists()


def test_others_hear_of_the_champion_and_a_channel_that_is_away_breaks_no_run(house, module_webhook):
    _, taken = module_webhook
    (said,) = taken
    assert said["title"] == "classifier/1: promoted"
    assert said["message"].startswith("classifier/1 was made with `retune run` by ")
    assert "beats the base" in said["message"]
    assert "channel 1 (json) did not take the message" in house.ran.stderr


def test_a_version_says_what_it_was_made_from(house):
    version = versions(house)[-1]
    tags, hashes = version.tags, locked(house)
    assert set(tags) >= TAGS
    assert all(tags[name] for name in TAGS)
    assert tags["data.raw"] == hashes["data/raw"]
    for side in ("train", "val", "test"):
        assert tags[f"data.{side}"] == hashes[f"data/splits/{side}.parquet"]
    assert tags["git.commit"] == house.git("rev-parse", "HEAD").strip()
    assert tags["git.dirty"] == "true"  # the settings stand in params.yaml
    assert tags["validation"] == "accepted"
    recorded = yaml.safe_load(house.git("show", f"{tags['record.commit']}:params.yaml"))
    assert recorded["train"]["max_tokens"] == SMALL["train.max_tokens"]
    assert hashes["data/raw"] in house.git("show", f"{tags['record.commit']}:data/raw.dvc")
    assert hashes["models/candidate"] in house.git("show", f"{tags['record.commit']}:dvc.lock")
    assert tags["record.name"] in house.dvc("exp", "list", "--name-only").stdout


def test_a_run_shows_all_that_a_data_scientist_looks_for(house):
    run = store(house).get_run(versions(house)[-1].run_id)
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
    assert run.data.metrics["macro_f1"] == report(house, "evaluate")["macro_f1"]
    assert [name for name in run.data.metrics if name.startswith("system/")]
    steps = [metric.step for metric in store(house).get_metric_history(run.info.run_id, "curves/train_loss")]
    assert len(steps) > 1 and len(set(steps)) == len(steps)
    files = artifacts(house, run.info.run_id)
    wanted = ["model_card.md", "report.html", "data_docs/index.html"]
    wanted += [f"plots/{name}.png" for name in ("scores/confusion", "scores/reliability", "learning_curve")]
    wanted += [f"recipe/{name}" for name in ("dvc.lock", "dvc.yaml", "params.yaml", "requirements.lock")]
    wanted += [f"reports/{stage}.json" for stage in ("curate", "validate", "split", "train", "evaluate")]
    assert sorted(set(wanted) - set(files)) == []


def test_the_datasets_of_a_run_are_named_by_their_dvc_hash(house):
    run = store(house).get_run(versions(house)[-1].run_id)
    told = {entry.dataset.name: entry.dataset.digest for entry in run.inputs.dataset_inputs}
    hashes = locked(house)
    assert told == {side: hashes[f"data/splits/{side}.parquet"] for side in ("train", "val", "test")}


def test_the_list_of_models_is_json_for_other_programs(house):
    told = json.loads(house.call("models", "--json").stdout)
    assert [entry["version"] for entry in told] == [int(version.version) for version in versions(house)]
    first = told[-1]
    assert set(first) >= {"name", "version", "aliases", "fingerprint", "created", "metrics", "base_metrics", "data"}
    assert first["name"] == "classifier"
    assert {"accuracy", "macro_f1"} <= set(first["metrics"]) & set(first["base_metrics"])
    assert first["data"] == {name: versions(house)[-1].tags[f"data.{name}"] for name in ("raw", "train", "val", "test")}


# ---- the registered model


LOAD = """
import json, sys, mlflow, pandas, torch, transformers
unpickled = []
sys.addaudithook(lambda event, told: unpickled.append(told) if event == "pickle.find_class" else None)
model = mlflow.pyfunc.load_model("models:/classifier@champion")
said = model.predict(pandas.DataFrame({"text": json.load(sys.stdin)}))
print(json.dumps([said.to_dict("records"), [str(told) for told in unpickled]]))
"""


def test_the_champion_loads_with_mlflow_alone_in_a_clean_process(house, tmp_path):
    said = pd.read_parquet(house.folder / "models/reports/predictions.parquet").head(5)
    texts = pd.read_parquet(house.folder / "data/splits/test.parquet").set_index("id").loc[said["id"], "text"].tolist()
    champion = versions(house)[-1]
    env = {"MLFLOW_TRACKING_URI": f"sqlite:///{house.folder}/.retune/mlflow.db", "PYTHONPATH": ""}
    elsewhere = type(house)(tmp_path, {**env, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"})
    done = elsewhere.python("-I", "-c", LOAD, input_text=json.dumps(texts))
    assert done.returncode == 0, done.stderr
    found, unpickled = json.loads(done.stdout.splitlines()[-1])
    assert unpickled == []
    assert aliases(house)["champion"] == int(champion.version)
    assert [row["label"] for row in found] == said["predicted"].tolist()
    assert [row["confidence"] for row in found] == pytest.approx(said["confidence"].tolist(), abs=1e-4)
    root = house.folder / ".retune/artifacts"
    assert not [file for file in root.rglob("*") if file.suffix in (".pkl", ".pickle", ".pt", ".pth", ".bin")]


def test_predict_labels_the_lines_of_standard_input(house):
    done = house.retune(
        "predict", "classifier@champion", "-", "--json", input_text="Where is my parcel?\nI was charged twice\n"
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [row["text"] for row in told] == ["Where is my parcel?", "I was charged twice"]
    assert all(row["label"] in QUEUES and 0 < row["confidence"] <= 1 for row in told)


def test_empty_standard_input_is_exit_1(house):
    done = house.retune("predict", "classifier@champion", "-", input_text="")
    assert done.returncode == 1
    assert "standard input is empty" in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
def test_predict_labels_its_arguments_in_a_table(house):
    done = house.retune("predict", "classifier/1", "Where is my parcel?", "I was charged twice")
    assert done.returncode == 0, done.stderr
    header, *rows = done.stdout.splitlines()
    assert header.split() == ["label", "confidence", "text"]
    assert [row.split(maxsplit=2)[2] for row in rows] == ["Where is my parcel?", "I was charged twice"]


# ---- the second run


def test_an_unchanged_second_run_registers_nothing(house):
    before = len(versions(house)), len(runs(house)), aliases(house)
    done = house.retune("run")
    assert done.returncode == 0, output(done)
    assert "Nothing changed since classifier/" in done.stdout
    assert stages_run(output(done)) == []
    assert (len(versions(house)), len(runs(house)), aliases(house)) == before


@pytest.fixture(scope="module")
def second(house):
    """What was before, the plan, and the outcome of a run that lists fewer examples: the same model once more."""
    params = house.folder / "params.yaml"
    text = params.read_text("utf-8")
    before = {"versions": len(versions(house)), "aliases": aliases(house)}
    params.write_text(text.replace("  examples: 20 ", "  examples: 7 "), "utf-8")
    before["plan"] = json.loads(house.call("plan", "--json").stdout)
    params.write_text(text, "utf-8")
    return before, house.retune("run", "-S", "evaluate.examples=7", timeout=300)


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


def test_a_model_that_is_no_better_is_held(house, second):
    before, done = second
    assert done.returncode == 1, output(done)
    assert "Traceback" not in output(done)
    held = versions(house)[0]
    assert len(versions(house)) == before["versions"] + 1
    assert aliases(house) == {"champion": before["aliases"]["champion"], "challenger": int(held.version)}
    assert held.tags["decision"] == "held"
    assert "does not beat the champion" in held.tags["reason.2"]
    assert "does not beat the champion" in done.stdout
    assert store(house).get_run(held.run_id).info.status == "FINISHED"


# ---- refusals


def test_refused_data_ends_the_run_before_training(house):
    known = len(versions(house)), aliases(house)
    model = locked(house)["models/candidate"]
    params = house.folder / "params.yaml"
    text = params.read_text("utf-8")
    try:
        done = house.retune("run", "-S", "validate.min_rows=1000")
    finally:
        params.write_text(text, "utf-8")
    assert done.returncode == 1, output(done)
    assert "Traceback" not in output(done)
    assert "row_count" in output(done) or "expectations" in done.stderr
    assert stages_run(output(done)) == ["validate"]
    assert report(house, "validate")["verdict"] == "refused"
    assert (house.folder / "models/reports/data_docs/index.html").stat().st_size > 1000
    ended = runs(house)[0]
    assert ended.info.status == "FAILED"
    assert ended.data.tags["mlflow.note.content"].startswith("validate ended this run")
    assert {"reports/validate.json", "reports/data_docs/index.html"} <= set(artifacts(house, ended.info.run_id))
    assert (len(versions(house)), aliases(house)) == known
    assert locked(house)["models/candidate"] == model


def test_a_second_run_at_the_same_time_is_refused(house):
    before = len(runs(house))
    with FileLock(house.folder / ".retune/run.lock"):
        done = house.retune("run", "-S", "evaluate.examples=9")
    assert done.returncode == 3
    assert "another run, ingest or forget is running" in done.stderr
    assert "Traceback" not in output(done)
    assert len(runs(house)) == before


# ---- resume, rebuild, strangers


def kill_all(process):
    """kill -9, the flow first so that it can tidy nothing up."""
    family = [process, *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        member.kill()
    for member in family:
        member.wait(10)
    process.stdout.close()


def wait_for_checkpoint(house, process, seconds=120):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := list((house.folder / ".retune/checkpoints").glob("*/choose/step-*")):
            return found
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    raise AssertionError("no checkpoint was written")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_killed_run_goes_on_to_the_same_bits(house):
    known = len(versions(house))
    settings = {"train.seed": 5, "train.epochs": 2, "train.checkpoint_seconds": 0.5}
    words = [word for key, value in settings.items() for word in ("-S", f"{key}={value}")]
    process = house.start("run", *words)
    try:
        wait_for_checkpoint(house, process)
        before = (house.folder / "params.yaml").read_bytes()
        beside = house.retune("run", "-S", "train.seed=6")
        assert beside.returncode == 3
        assert "another run, ingest or forget is running" in beside.stderr
        assert (house.folder / "params.yaml").read_bytes() == before
    finally:
        kill_all(process)
    orphan = runs(house)[0]
    assert orphan.info.status == "RUNNING"

    done = house.retune("run", timeout=300)
    assert done.returncode in (0, 1), output(done)
    assert "Traceback" not in output(done)
    assert report(house, "train")["resumed_from_step"] > 0
    assert "going on from the checkpoint" in output(done)
    assert len(versions(house)) == known + 1
    assert store(house).get_run(orphan.info.run_id).info.status == "KILLED"
    assert [run for run in runs(house) if run.info.status == "RUNNING"] == []

    resumed = locked(house)["models/candidate"]
    again = house.dvc("repro", "--force", "--single-item", "train")
    assert again.returncode == 0, output(again)
    assert report(house, "train")["resumed_from_step"] == 0
    assert locked(house)["models/candidate"] == resumed


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_dvc_alone_rebuilds_the_model_to_the_bit(house):
    nowhere = type(house)(
        house.folder, {"PREFECT_API_URL": "http://127.0.0.1:9/api", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    )
    told = nowhere.dvc("repro")
    assert told.returncode == 0, output(told)
    made = {path: md5 for path, md5 in locked(house).items() if not path.startswith("models/reports/")}
    for path in ("models/candidate", "data/splits", "data/curated/rows.parquet"):
        target = house.folder / path
        assert target.exists()
    forced = nowhere.dvc("repro", "--force")
    assert forced.returncode == 0, output(forced)
    assert stages_run(output(forced)) == ["curate", "validate", "split", "train", "evaluate"]
    assert {path: md5 for path, md5 in locked(house).items() if not path.startswith("models/reports/")} == made


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
    own = some[["body", "queue"]].rename(columns={"body": "Kundentext", "queue": "Team"})
    own.to_csv(clone.folder / "own.csv", index=False)
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
    kept = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}
    assert {name for name in kept if "matplotlib" not in name} == set()  # matplotlib's list of fonts is a cache


def test_the_interpreter_of_the_tests_is_that_of_the_stages(house):
    told = house.python("-c", "import shutil; print(shutil.which('python'))").stdout.strip()
    assert Path(told).parent == Path(sys.executable).parent
