"""A clone with a finished run of a small classifier: its parameters, and what its registry and reports hold."""

import json

import yaml

QUEUES = ["billing", "delivery", "sign_in", "refunds"]
SMALL = {
    "train.max_tokens": 32,
    "validate.max_truncated_share": 1.0,
    "train.epochs": 1,
    "train.batch_size": 16,
    "train.refit": False,
    "evaluate.bootstrap": 100,
    "promote.bootstrap": 200,
    "promote.confidence": 0.6,
    "register.reload_rows": 8,
}


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
