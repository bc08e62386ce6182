"""The real thing, end to end: the real command, encoder, DVC, MLflow and a Prefect server, on a slice of the sample.

The tests share one clone and stand in the order of its story; each compares with what it found, so any of them
can also run alone.
"""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.support.classifier_runs import (
    QUEUES,
    SMALL,
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


def test_others_hear_of_the_champion_and_a_channel_that_is_away_breaks_no_run(classifier_clone, session_webhook):
    _, notifications = session_webhook
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
    assert run.info.status == "FINISHED" and run.info.run_name.startswith("v1 ")
    assert run.data.tags["mlflow.source.name"] == "retune run"
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
    expected_files = ["model_card.md", "data_card.md", "data_report.html", "report.html", "data_docs/index.html"]
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
    assert [row["route"] for row in labels] == predictions["route"].tolist()
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


def test_predict_labels_its_arguments_in_a_table(classifier_clone):
    done = classifier_clone.retune("predict", "classifier/1", "Where is my parcel?", "I was charged twice")
    assert done.returncode == 0, done.stderr
    header, *rows = done.stdout.splitlines()
    assert header.split() == ["label", "confidence", "route", "text"]
    assert [row.split(maxsplit=3)[3] for row in rows] == ["Where is my parcel?", "I was charged twice"]


def test_the_interpreter_of_the_tests_is_that_of_the_stages(classifier_clone):
    path = classifier_clone.python("-c", "import shutil; print(shutil.which('python'))").stdout.strip()
    assert Path(path).parent == Path(sys.executable).parent


def test_an_unchanged_second_run_registers_nothing(classifier_clone):
    before = len(versions(classifier_clone)), len(runs(classifier_clone)), aliases(classifier_clone)
    done = classifier_clone.retune("run")
    assert done.returncode == 0, output(done)
    assert "Nothing changed since classifier/" in done.stdout
    assert stages_run(output(done)) == []
    assert (len(versions(classifier_clone)), len(runs(classifier_clone)), aliases(classifier_clone)) == before
