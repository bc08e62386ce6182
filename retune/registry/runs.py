"""Runs: what one lifecycle wrote down while it lasted, and how a list of them looks."""

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from retune.config import params
from retune.registry.backend import artifact_root, client, opened
from retune.system import process_identity

PROCESS = "process"  # tag of a run: whose it is while it lasts
SOURCE = "mlflow.source.name"  # tag: what the list of runs shows as the source of a run
# What the list of runs shows, in this order: columns by MLflow's names, with their widths in pixels.
COLUMNS = {
    "tags.`method`": 75,
    "metrics.`macro_f1`": 105,
    "metrics.`gain_over_base`": 115,
    "metrics.`gain_over_champion`": 150,
    "tags.`data`": 80,
    "attributes.`Source`": 110,
    "attributes.`Version`": 85,
}
VIEW = "best-first"
ABOUT_RUNS = (  # MLflow shows one line of it
    "The runs of one model, named after their versions. `data` is the DVC hash of the train split. "
    "Plots, report and model card are artifacts."
)


@contextmanager
def run(experiment: str, name: str, tags: dict[str, str]) -> Iterator[str]:
    """One MLflow run for a whole lifecycle, ended with its true status; system metrics are sampled beside it."""
    mlflow = opened()
    experiment_id = _experiment(experiment)
    close_orphans(experiment_id)
    mlflow.set_system_metrics_sampling_interval(5)
    os.environ.pop("MLFLOW_RUN_ID", None)  # a parent job's, which MLflow would go on with
    run_tags = {PROCESS: process_identity.name(), **tags}
    active = mlflow.start_run(experiment_id=experiment_id, run_name=name, tags=run_tags, log_system_metrics=True)
    status = "KILLED"
    try:
        yield active.info.run_id
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        mlflow.end_run(status)
        client().delete_tag(active.info.run_id, PROCESS)


def _experiment(name: str) -> str:
    if not client().get_experiment_by_name(name):
        client().create_experiment(name, artifact_location=_below_root(name))
    experiment = client().get_experiment_by_name(name)
    for tag, value in _looks().items():
        if tag not in experiment.tags:  # what people have changed stays
            client().set_experiment_tag(experiment.experiment_id, tag, value)
    return str(experiment.experiment_id)


def _looks() -> dict[str, str]:
    """Tags that make an experiment's page worth opening.

    MLflow keeps the choice of columns in each browser, but saved views, which the address can name, in a tag.
    """
    view = {
        "orderByKey": "metrics.`macro_f1`",
        "orderByAsc": False,
        "selectedColumns": list(COLUMNS),
        "columnOrder": list(COLUMNS),
        "columnWidths": COLUMNS,
    }
    saved = {"name": "Best first", "createdAt": int(time.time() * 1000), "state": json.dumps(view)}
    return {
        f"mlflow.sharedViewState.{VIEW}": json.dumps(saved),
        "mlflow.experimentKind": "custom_model_development",
        "mlflow.note.content": ABOUT_RUNS,
    }


def _below_root(name: str) -> str | None:
    return f"{artifact_root()}/{name}" if artifact_root() else None


def close_left_open(name: str) -> list[str]:
    """`close_orphans` of the runs of a model, if it has any."""
    experiment = client().get_experiment_by_name(name)
    return close_orphans(experiment.experiment_id) if experiment else []


def close_orphans(experiment_id: str) -> list[str]:
    """End the runs whose process has died: kill -9 leaves them RUNNING. Returns their ids."""
    closed = []
    for orphan in client().search_runs([experiment_id], "attributes.status = 'RUNNING'"):
        whose = orphan.data.tags.get(PROCESS, "")
        if process_identity.here(whose) and not process_identity.alive(whose):
            client().set_tag(orphan.info.run_id, "ended_by", "the next run: its process had died")
            client().set_terminated(orphan.info.run_id, "KILLED")
            closed.append(orphan.info.run_id)
    return closed


def name_after(run_id: str, version: int) -> None:
    """Put the number of the version before the name of a run, where every list and chart of MLflow shows it."""
    name, number = client().get_run(run_id).info.run_name, f"v{version} "
    if not name.startswith(number):
        client().update_run(run_id, name=f"{number}{name}")


def log_metrics(run_id: str, values: dict[str, float], step: int = 0) -> None:
    from mlflow.entities import Metric
    from mlflow.utils.time import get_current_time_millis

    now = get_current_time_millis()
    client().log_batch(run_id, metrics=[Metric(name, float(value), now, step) for name, value in values.items()])


def log_progress(run_id: str, step: int, values: dict[str, float]) -> None:
    """One point of the learning curves. MLflow shows what has a folder in its name first, apart from the scores."""
    log_metrics(run_id, {f"curves/{name}": value for name, value in values.items()}, step)


def log_curve(run_id: str, points: pd.DataFrame) -> None:
    """Log the points of a learning curve that the run has not seen live (its training may have been cached)."""
    logged_steps: dict[str, set[int]] = {}
    for name in points.columns.drop("step"):
        logged_steps[name] = {metric.step for metric in client().get_metric_history(run_id, f"curves/{name}")}
    for point in points.to_dict("records"):
        step = int(point.pop("step"))
        values = {
            str(name): value for name, value in point.items() if pd.notna(value) and step not in logged_steps[str(name)]
        }
        if values:
            log_progress(run_id, step, values)


def log_params(run_id: str, values: dict[str, Any]) -> None:
    from mlflow.entities import Param

    flat = [Param(name, str(value)) for name, value in params.flat(values).items()]
    for start in range(0, len(flat), 100):  # the store's limit for one batch
        client().log_batch(run_id, params=flat[start : start + 100])


def set_tags(run_id: str, tags: dict[str, str]) -> None:
    for name, value in tags.items():
        client().set_tag(run_id, name, value)


def log_dataset(run_id: str, name: str, path: Path, digest: str, context: str) -> None:
    """One side as a dataset of the run. `digest` is DVC's: MLflow's own covers only the first 10,000 rows."""
    from mlflow.data.filesystem_dataset_source import FileSystemDatasetSource  # noqa: F401  (registers the source)
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.data.sources import LocalArtifactDatasetSource
    from mlflow.entities import DatasetInput, InputTag

    dataset = MetaDataset(LocalArtifactDatasetSource(str(path)), name=name, digest=digest)
    tag = InputTag("mlflow.data.context", context)
    client().log_inputs(run_id, [DatasetInput(dataset._to_mlflow_entity(), [tag])])


def log_artifacts(run_id: str, paths: Sequence[Path], folder: str | None = None) -> None:
    for path in paths:
        if path.is_dir():
            client().log_artifacts(run_id, str(path), f"{folder}/{path.name}" if folder else path.name)
        elif path.exists():
            client().log_artifact(run_id, str(path), folder)


def describe(run_id: str, markdown: str) -> None:
    """What stands on top of the run's page."""
    client().set_tag(run_id, "mlflow.note.content", markdown)


def log_text(run_id: str, text: str, path: str) -> None:
    client().log_text(run_id, text, path)


def runs_page(server: str, name: str) -> str:
    """The address of the list of a model's runs on an MLflow server, best first; of all models before its first run."""
    experiment = client().get_experiment_by_name(name)
    page = f"/{experiment.experiment_id}/runs?viewStateShareKey={VIEW}&" if experiment else "?"
    return f"{server}/#/experiments{page}workflowType=machine_learning"
