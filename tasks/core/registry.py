"""Names: runs, registered versions and their aliases. Door to MLflow.

Addresses are environment: MLFLOW_TRACKING_URI if it is set, else a SQLite file in `.retune/` of this clone
with the artifacts beside it.
"""

import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import pandas as pd

from tasks.core import base, faults, history, lineage, lock, params, process, record, signing, sums
from tasks.core.errors import Broken, Refused, WrongUse
from tasks.core.link import Link

STATE = ".retune"
CHAMPION, CHALLENGER = "champion", "challenger"
HEAD = "history"  # tag of a registered model: number and hash of the last entry of its history
OPENING = threading.Lock()  # two threads that find no store make one
BUSY = 30  # seconds to wait for another writer of our own SQLite file
TURN = 1800  # seconds to wait for another run that registers; it scores the champion before
PROCESS = "process"  # tag of a run: whose it is while it lasts
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # it would stand in front of --json
    "GIT_PYTHON_REFRESH": "quiet",
}
CARRIED = (
    "__init__.py",
    "core/__init__.py",
    "core/base.py",
    "core/card.py",
    "core/errors.py",
    "core/link.py",
    "core/model.py",
    "core/sums.py",
)  # code that a version serves with
# What the list of runs shows, in this order: columns by MLflow's names, with their widths in pixels.
COLUMNS = {
    "tags.`method`": 75,
    "metrics.`macro_f1`": 105,
    "metrics.`gain_over_base`": 115,
    "tags.`data`": 80,
    "metrics.`accuracy`": 105,
    "metrics.`base_macro_f1`": 115,
    "metrics.`gain_over_champion`": 150,
}
VIEW = "best-first"
ABOUT_RUNS = (  # MLflow shows one line of it
    "The runs of one model. `data` is the DVC hash of the training side. "
    "Plots, data docs, report and model card are among a run's artifacts."
)

T = TypeVar("T")


@dataclass(frozen=True)
class Version:
    """One registered version of a model."""

    name: str
    version: int
    run_id: str
    created: str  # ISO 8601, UTC
    aliases: tuple[str, ...]
    tags: dict[str, str]

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.version}"

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


def address() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{_own_store()}"


def state() -> Path:
    return _state(Path.cwd())


@cache
def _state(here: Path) -> Path:
    return lineage.clone() / STATE


def _own_store() -> Path:
    return state() / "mlflow.db"


def artifact_root() -> str | None:
    """Where artifacts go when the registry is a file; None where a server decides.

    Without it, MLflow would put them into `mlruns/` of the current folder.
    """
    return (state() / "artifacts").as_uri() if address().startswith("sqlite:") else None


def _mlflow() -> Any:
    os.environ |= {name: value for name, value in QUIET.items() if name not in os.environ}
    state().mkdir(exist_ok=True)
    import mlflow

    if mlflow.get_tracking_uri() != address():
        mlflow.set_tracking_uri(address())
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    with OPENING:
        if address() == f"sqlite:///{_own_store()}" and not _own_store().exists():
            _make_tables(_own_store())
    return mlflow


def _make_tables(store: Path) -> None:
    """MLflow makes its tables by seventy migrations, each of which waits for the disk: in memory they take a third.

    The file appears whole, and one that another process has made meanwhile stays.
    """
    from mlflow.store.db.utils import _initialize_tables
    from sqlalchemy import StaticPool, create_engine

    with _scratch(store.parent / "scratch") as folder, closing(sqlite3.connect(":memory:")) as memory:
        _initialize_tables(create_engine("sqlite://", creator=lambda: memory, poolclass=StaticPool))
        made = Path(folder) / store.name
        with closing(sqlite3.connect(made)) as file:
            memory.backup(file)
        with suppress(FileExistsError):
            os.link(made, store)


def scratch_root() -> Path:
    """The folders here begin with the number of the process that they belong to; those of the dead are swept."""
    return state() / "scratch"


def _scratch(root: Path | None = None) -> tempfile.TemporaryDirectory[str]:
    root = root or scratch_root()
    root.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=root, prefix=f"{os.getpid()}-")


def move_store(old: Path, new: str, passfile: Path) -> int:
    """Bring the rows of a SQLite registry into an empty PostgreSQL, all or none. Returns how many; 0 if none were due.

    The artifacts stay where they are: a server that gives out the same folder finds them under its own scheme.
    """
    if not old.exists() or not _rows(old):
        return 0
    from mlflow.store.db.utils import _initialize_tables
    from mlflow.store.model_registry.dbmodels import models  # noqa: F401  (its tables join the metadata)
    from mlflow.store.tracking.dbmodels.models import Base
    from sqlalchemy import create_engine, insert, select

    target = create_engine(new, connect_args={"passfile": str(passfile)})
    _initialize_tables(target)
    moved = 0
    with create_engine(f"sqlite:///{old}").connect() as source, target.begin() as sink:
        tables = Base.metadata.sorted_tables
        if any(sink.execute(select(table).limit(1)).first() for table in tables if table.name in HOLD_RUNS):
            return 0
        for table in reversed(tables):
            sink.execute(table.delete())  # what every new registry holds: a default experiment and the like
        for table in tables:
            rows = [_served(dict(row._mapping), old.parent) for row in source.execute(select(table))]
            moved += len(rows)
            for start in range(0, len(rows), 1000):
                sink.execute(insert(table), rows[start : start + 1000])
            _count_on(sink, table)
    old.rename(old.with_name(f"{old.name}.moved"))
    return moved


HOLD_RUNS = ("runs", "registered_models")  # tables that are empty in a registry that nobody has used
PATHS = ("artifact_location", "artifact_uri", "source", "storage_location")


def _rows(store: Path) -> int:
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as database:
        return sum(database.execute(f"select count(*) from {table}").fetchone()[0] for table in HOLD_RUNS)


def _served(row: dict[str, Any], state: Path) -> dict[str, Any]:
    """The row with artifacts in our own folder named as the server that gives it out names them."""
    root = (state / "artifacts").as_uri()
    for name in PATHS:
        if str(row.get(name) or "").startswith(f"{root}/"):
            row[name] = f"mlflow-artifacts:/{row[name].removeprefix(f'{root}/')}"
    return row


def _count_on(sink: Any, table: Any) -> None:
    """Rows that bring their numbers leave PostgreSQL's counters where they were."""
    from sqlalchemy import text

    for column in table.primary_key.columns:
        told = {"table": table.name, "column": column.name}
        if sink.execute(text("select pg_get_serial_sequence(:table, :column)"), told).scalar():
            last = f"select max({column.name}) from {table.name}"
            sink.execute(text(f"select setval(pg_get_serial_sequence(:table, :column), coalesce(({last}), 1))"), told)


def client() -> Any:
    return _mlflow().MlflowClient()


def open_early() -> threading.Thread:
    """Begin to open the registry beside other work: MLflow's import takes a second, its first tables four more.

    MLflow opens one store at a time, so whoever asks next waits for this, and meets the error if there is one.
    """

    def opening() -> None:
        with suppress(Exception):
            client()

    thread = threading.Thread(target=opening, daemon=True)
    thread.start()
    return thread


# ---------------------------------------------------------------- runs


@contextmanager
def run(experiment: str, name: str, tags: dict[str, str]) -> Iterator[str]:
    """One MLflow run for a whole lifecycle, ended with its true status; system metrics are sampled beside it."""
    mlflow = _mlflow()
    experiment_id = _experiment(experiment)
    close_orphans(experiment_id)
    mlflow.set_system_metrics_sampling_interval(5)
    own = {PROCESS: process.name(), **tags}
    active = mlflow.start_run(experiment_id=experiment_id, run_name=name, tags=own, log_system_metrics=True)
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
    return experiment.experiment_id


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
    found = client().get_experiment_by_name(name)
    return close_orphans(found.experiment_id) if found else []


def close_orphans(experiment_id: str) -> list[str]:
    """End the runs whose process has died: kill -9 leaves them RUNNING. Returns their ids."""
    closed = []
    for left in client().search_runs([experiment_id], "attributes.status = 'RUNNING'"):
        whose = left.data.tags.get(PROCESS, "")
        if process.here(whose) and not process.alive(whose):
            client().set_tag(left.info.run_id, "ended_by", "the next run: its process had died")
            client().set_terminated(left.info.run_id, "KILLED")
            closed.append(left.info.run_id)
    return closed


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
    seen: dict[str, set[int]] = {}
    for name in points.columns.drop("step"):
        seen[name] = {metric.step for metric in client().get_metric_history(run_id, f"curves/{name}")}
    for point in points.to_dict("records"):
        step = int(point.pop("step"))
        values = {str(name): value for name, value in point.items() if pd.notna(value) and step not in seen[str(name)]}
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
    found = client().get_experiment_by_name(name)
    page = f"/{found.experiment_id}/runs?viewStateShareKey={VIEW}&" if found else "?"
    return f"{server}/#/experiments{page}workflowType=machine_learning"


# ---------------------------------------------------------------- versions


@contextmanager
def packed(model_folder: Path, requirements: list[str]) -> Iterator[Path]:
    """A scratch folder with the model as MLflow serves it: from code, no pickle. Whoever packs may add files to it."""
    mlflow = _mlflow()
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    own = Path(__file__).parent.parent
    signature = ModelSignature(
        Schema([ColSpec("string", "text")]), Schema([ColSpec("string", "label"), ColSpec("double", "confidence")])
    )
    with _scratch() as scratch:
        folder, code = Path(scratch) / "packed", Path(scratch) / "code"
        for file in CARRIED:
            (code / "tasks" / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(own / file, code / "tasks" / file)
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # an example is missed beside the schema
            mlflow.pyfunc.save_model(
                folder,
                python_model=str(own / "core" / "serving.py"),
                artifacts={"model": str(model_folder)},
                code_paths=[str(code / "tasks")],
                pip_requirements=requirements,
                signature=signature,
            )
        for parent in {file.parent for file in folder.rglob("*.py")}:
            # Whoever loads the version imports its code, and Python would add bytecode to it, which nobody signed
            # and everybody runs. A file of that name leaves it no place.
            (parent / "__pycache__").touch()
        yield folder


def add_version(name: str, run_id: str, packed: Path, tags: dict[str, str], description: str = "") -> Version:
    """Log a packed folder to the run and register it. All tags come with the version, or there is no version."""
    client().log_artifacts(run_id, str(packed), "model")
    faults.point("register:logged")
    source = f"{client().get_run(run_id).info.artifact_uri}/model"
    _enter(name)
    faults.point("register:named")
    made = client().create_model_version(name, source, run_id=run_id, tags=tags, description=description)
    return _first_of_its_kind(find(name, version=int(made.version)))


def _enter(name: str) -> None:
    """A model of that name, if there is none yet."""
    from mlflow.exceptions import MlflowException

    try:
        client().create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _first_of_its_kind(made: Version) -> Version:
    """The oldest version of a fingerprint; what this run made beside it goes.

    A server that is killed between the deed and its answer is asked again, and does it again; or another machine was
    faster.
    """
    twins = [each for each in versions(made.name) if each.tags.get("fingerprint", each) == made.tags.get("fingerprint")]
    first = min(twins, key=lambda version: version.version, default=made)
    for twin in twins:
        if twin != first and twin.run_id == made.run_id:
            client().delete_model_version(twin.name, str(twin.version))
    return first


def versions(name: str | None = None) -> list[Version]:
    """Every version, newest first."""
    none: list[Version] = []
    found = _read(lambda database: _versions_of(database, name), none)
    if found is None:
        found = [
            _version(entity, _aliases(model))
            for model in _pages(client().search_registered_models)
            if name in (None, model.name)
            for entity in _pages(client().search_model_versions, f"name = '{model.name}'")
        ]
    return sorted(found, key=lambda version: (version.created, version.version), reverse=True)


def _read(ask: Callable[[sqlite3.Connection], T], empty: T) -> T | None:
    """What `ask` finds in our own SQLite file, `empty` before there is one; None where only MLflow can tell.

    MLflow's import takes three seconds, and this is asked before and after each answer, and each night.
    """
    if address() != f"sqlite:///{_own_store()}":
        return None
    if not _own_store().exists():
        return empty
    try:
        with closing(sqlite3.connect(f"file:{_own_store()}?mode=ro", uri=True, timeout=BUSY)) as database:
            return ask(database)
    except sqlite3.Error:  # tables of another MLflow, or a damaged file: MLflow has the words for it
        return None


def _write(*statements: tuple[str, tuple[Any, ...]]) -> bool:
    """Whether our own SQLite file has taken all of it: nobody should wait for an import to move an alias."""
    if address() != f"sqlite:///{_own_store()}" or not _own_store().exists():
        return False
    try:
        with closing(sqlite3.connect(_own_store(), timeout=BUSY)) as database, database:
            for statement in statements:
                database.execute(*statement)
            return True
    except sqlite3.Error:  # as in `_read`
        return False


def _versions_of(database: sqlite3.Connection, name: str | None) -> list[Version]:
    tags: dict[tuple[str, int], dict[str, str]] = {}
    for model, number, key, value in database.execute("select name, version, key, value from model_version_tags"):
        tags.setdefault((model, number), {})[key] = value
    aliases: dict[tuple[str, int], list[str]] = {}
    for model, number, alias in database.execute(
        "select name, version, alias from registered_model_aliases order by alias"
    ):
        aliases.setdefault((model, number), []).append(alias)
    rows = database.execute(
        "select name, version, run_id, creation_time from model_versions where current_stage != 'Deleted_Internal' and "
        "name not in (select name from registered_model_tags where key = 'mlflow.prompt.is_prompt')"
    )
    return [
        Version(
            model,
            number,
            run_id,
            _in_words(created),
            tuple(aliases.get((model, number), [])),
            tags.get((model, number), {}),
        )
        for model, number, run_id, created in rows
        if name in (None, model)
    ]


def _pages(search: Callable[..., Any], *words: str) -> Iterator[Any]:
    """Everything that a search finds; MLflow gives it page by page."""
    token = None
    while True:
        page = search(*words, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _aliases(model: Any) -> dict[int, list[str]]:
    by_version: dict[int, list[str]] = {}
    for alias, version in sorted(model.aliases.items()):
        by_version.setdefault(int(version), []).append(alias)
    return by_version


def _version(entity: Any, aliases: dict[int, list[str]]) -> Version:
    number, created = int(entity.version), _in_words(entity.creation_timestamp)
    return Version(entity.name, number, entity.run_id, created, tuple(aliases.get(number, [])), dict(entity.tags))


def _in_words(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


def find(name: str, *, version: int | None = None, alias: str | None = None) -> Version:
    """The one version of that number or alias. Raises Refused if there is none."""
    for found in versions(name):
        if found.version == version or alias in found.aliases:
            return found
    what = f"version {version}" if version is not None else f"alias {alias}"
    raise Refused(f"{name} has no {what} in {address()}: `retune models` lists what is there")


def known(name: str, fingerprint: str) -> Version | None:
    """The version of a fingerprint, if there is one."""
    return next((version for version in versions(name) if version.tags.get("fingerprint") == fingerprint), None)


def champion(name: str) -> Version | None:
    return next((version for version in versions(name) if CHAMPION in version.aliases), None)


def resolve(reference: str) -> Version:
    """NAME@ALIAS or NAME/VERSION."""
    name, at, alias = reference.partition("@")
    if at and name and alias:
        return find(name, alias=alias)
    name, slash, number = reference.rpartition("/")
    if slash and name and number.isascii() and number.isdigit():
        return find(name, version=int(number))
    raise WrongUse(f"{reference!r} names no model: write NAME@ALIAS or NAME/VERSION, for example classifier@champion")


def metrics(version: Version) -> dict[str, float]:
    """The scores of its run, without learning curves and system metrics."""
    from mlflow.exceptions import MlflowException

    try:
        found = client().get_run(version.run_id).data.metrics
        return {name: value for name, value in found.items() if "/" not in name}
    except MlflowException:  # somebody deleted the run
        return {}


def version_folder(version: Version) -> Path:
    """A local folder with all that a version holds, as it is in the store now."""
    if folder := _read(lambda database: _folder_of(database, version), None):
        return folder
    _mlflow()
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        return Path(download_artifacts(version.uri))
    except (MlflowException, OSError) as error:
        raise Broken(f"the bytes of {version} cannot be had from {address()}: {error}") from None


def _folder_of(database: sqlite3.Connection, version: Version) -> Path | None:
    """Where our own store has put it, if that is a folder here."""
    source = "select coalesce(storage_location, source) from model_versions where name = ? and version = ?"
    for (where,) in database.execute(source, (version.name, version.version)):
        folder = Path(unquote(urlsplit(where).path))
        if where.startswith("file:///") and folder.is_dir():
            return folder
    return None


def checked_folder(version: Version) -> Path:
    """`version_folder`, refused if a file of it was changed, added or lost, or its signature does not fit."""
    folder = version_folder(version)
    links = integrity(version, folder)
    if wrong := [link for link in links if not link.ok]:
        told = "; ".join(f"{link.name}: recorded {link.expected}, found {link.found}" for link in wrong[:5])
        raise Refused(f"{version} is not what was registered, so it is not loaded: {told}")
    return folder


def integrity(version: Version, folder: Path) -> list[Link]:
    """Every file of a version against its seal, and its signature against its signer."""
    trusted = os.environ.get("RETUNE_PUBLIC_KEY")
    signer = version.tags.get("signer", signing.UNSIGNED)
    return [
        *sums.check(folder, version.tags.get("seal", "no seal")),
        signing.check(folder, signer, Path(trusted) if trusted else None),
    ]


def model_folder(version: Version) -> Path:
    """The model folder of a version, checked, and its base with it; downloaded if the store is away."""
    whole = checked_folder(version)
    (folder,) = (whole / "artifacts").iterdir()  # under the name it was added by
    made = record.read(whole / record.FILE)
    if made["training"]["method"] != "full":  # which carries all that it needs
        found = base.hashes(base.find(made["base"]["name"]))
        for name, sha256 in made["base"]["files"].items():
            if found.get(name) != sha256:
                raise Refused(
                    f"{version} needs the base {made['base']['name']} as it was: {name} has sha256 "
                    f"{found.get(name, 'none, it is missing')}, recorded is {sha256}"
                )
    return folder


def anchor(entry: history.Entry) -> None:
    """Keep the last entry of a model's history where the history itself is not, though no version may be there yet."""
    now = int(time.time() * 1000)
    model = "insert or ignore into registered_models (name, creation_time, last_updated_time) values (?, ?, ?)"
    tag = "insert or replace into registered_model_tags (name, key, value) values (?, ?, ?)"
    if not _write((model, (entry.model, now, now)), (tag, (entry.model, HEAD, entry.head))):
        _enter(entry.model)
        client().set_registered_model_tag(entry.model, HEAD, entry.head)


@contextmanager
def turn() -> Iterator[None]:
    """One run at a time asks what is registered, and registers: else two of one fingerprint make two versions.

    Among all worktrees of a clone. Runs of other machines on the same server are not kept from it (`add_version`).
    """
    with lock.waiting(state() / "register.lock", TURN, "run that registers a model"):
        yield


def heads() -> dict[str, str]:
    """What `anchor` kept of each model that has a history."""
    none: dict[str, str] = {}
    found = _read(_heads_of, none)
    if found is not None:
        return found
    models = _pages(client().search_registered_models)
    return {model.name: model.tags[HEAD] for model in models if HEAD in model.tags}


def _heads_of(database: sqlite3.Connection) -> dict[str, str]:
    return dict(database.execute("select name, value from registered_model_tags where key = ?", (HEAD,)))


def tag_version(version: Version, tags: dict[str, str]) -> None:
    statement = "insert or replace into model_version_tags (name, version, key, value) values (?, ?, ?, ?)"
    rows = [(statement, (version.name, version.version, key, value)) for key, value in tags.items()]
    if not _write(*rows):
        for key, value in tags.items():
            client().set_model_version_tag(version.name, str(version.version), key, value)


def set_alias(version: Version, alias: str) -> None:
    find(version.name, version=version.version)  # raises Refused if somebody has deleted it
    statement = "insert or replace into registered_model_aliases (name, alias, version) values (?, ?, ?)"
    if not _write((statement, (version.name, alias, version.version))):
        client().set_registered_model_alias(version.name, alias, str(version.version))


def drop_alias(version: Version, alias: str) -> None:
    """Take `alias` away if this version has it."""
    if alias in find(version.name, version=version.version).aliases:
        statement = "delete from registered_model_aliases where name = ? and alias = ? and version = ?"
        if not _write((statement, (version.name, alias, version.version))):
            client().delete_registered_model_alias(version.name, alias)


# What takes seconds is done while the question is awaited. Standard input that closes without one ends it, at once.
RELOAD = """
import os, sys, threading
asked = []
listening = threading.Thread(target=lambda: asked.append(sys.stdin.read() or os._exit(0)), daemon=True)
listening.start()
import json, pandas, peft, mlflow.pyfunc
mlflow.MlflowClient()
listening.join()
uri, texts = json.loads(asked[0])
said = mlflow.pyfunc.load_model(uri).predict(pandas.DataFrame({"text": texts}))
json.dump(said.to_dict("list"), sys.stdout)
"""


Reader = subprocess.Popen[str]


@contextmanager
def clean_process() -> Iterator[Reader]:
    """A new process in an empty folder, without pickle, that will load one version by MLflow alone.

    Begun early, it imports while others work, then waits for `predict_in_clean_process` to ask. It ends with this
    block; and with its standard input, so it does not outlive a killed parent.
    -B: it writes no bytecode beside the code that the version carries, so the artifact stays as it was logged.
    """
    with _scratch() as elsewhere:
        process = subprocess.Popen(
            [sys.executable, "-I", "-B", "-c", RELOAD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=elsewhere,
            env={**os.environ, **QUIET, "MLFLOW_TRACKING_URI": address()},
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def predict_in_clean_process(reader: Reader, version: Version, texts: list[str]) -> pd.DataFrame:
    """What the registered version says, loaded in a process of `clean_process`, which answers once."""
    said, complaint = reader.communicate(json.dumps([version.uri, texts]))
    if reader.returncode:
        why = complaint.strip().rpartition("\n")[2]  # of a traceback, the line that says it
        raise Broken(f"{version} does not load in a clean process: {why}")
    return pd.DataFrame(json.loads(said))
