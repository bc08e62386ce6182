"""Where MLflow keeps its books, and how they are opened: a server's, or a SQLite file of this clone.

Addresses are environment: MLFLOW_TRACKING_URI if it is set, else a SQLite file in `.retune/` of this clone
with the artifacts beside it. `sqlite_reader` reads that file without MLflow, whose import takes seconds; every write
goes through MLflow's client.
"""

import atexit
import logging
import os
import re
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any

from retune.errors import Broken, WrongUse
from retune.system import git

STATE = ".retune"
ADDRESS = "MLFLOW_TRACKING_URI"
DATABASES = ("postgresql", "postgres", "mysql", "mssql")  # of an MLflow server, which keeps the files too
OPENING = threading.Lock()  # two threads that find no store make one
ANSWERS_WITHIN = 5  # seconds for a server to say that it is there
AWAY = (500, 502, 503, 504)  # from a server, or the proxy before it, whose database or self is away
PATIENCE = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"  # who sets it says how long to wait: MLflow's own 7 are four minutes
MLFLOWS_OWN = "7"
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # it would stand in front of --json
    "GIT_PYTHON_REFRESH": "quiet",
}


def address() -> str:
    """Raises WrongUse for an address that means another registry in each folder, or that MLflow no longer takes."""
    uri = os.environ.get(ADDRESS)
    if not uri:
        return f"sqlite:///{own_store()}"
    if wrong := _wrong_address(uri):
        raise WrongUse(
            f"{ADDRESS} is {_without_password(uri)}, {wrong}",
            remedy=f"unset it to use this clone's own registry, {own_store()}, or name a server or sqlite:////absolute"
            "/path/mlflow.db",
        )
    return uri


def _wrong_address(uri: str) -> str:
    """What is wrong with an address that names no registry; empty if nothing is."""
    scheme, separator, place = uri.partition(":")
    if scheme == "file" or (not separator and scheme != "databricks"):
        return "a folder, and MLflow keeps no registry in a folder any more"
    if scheme.startswith("sqlite") and not place.startswith("////"):
        return "a path that depends on where one stands, so that each folder would have a registry of its own"
    if scheme.partition("+")[0] in DATABASES:
        return "a database, and model files would lie in whichever folder a command is called in"
    return ""


def _without_password(uri: str) -> str:
    return re.sub("//[^/@]*@", "//", uri)


def state() -> Path:
    """`.retune` of the clone, which its worktrees share."""
    return _state(Path.cwd())


@cache  # a folder, another clone
def _state(_: Path) -> Path:
    return git.main_checkout() / STATE


def own_store() -> Path:
    return state() / "mlflow.db"


def artifact_root() -> str | None:
    """Where artifacts go when the registry is a file; None where a server decides.

    Without it, MLflow would put them into `mlruns/` of the current folder.
    """
    return (state() / "artifacts").as_uri() if address().startswith("sqlite:") else None


def opened() -> Any:
    os.environ |= {name: value for name, value in QUIET.items() if name not in os.environ}
    state().mkdir(exist_ok=True)
    import mlflow

    if mlflow.get_tracking_uri() != address():
        mlflow.set_tracking_uri(address())
    if os.environ.get("MLFLOW_REGISTRY_URI", address()) != address():
        mlflow.set_registry_uri(address())  # versions stand beside their runs
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    must_answer()
    with OPENING:
        if address() == f"sqlite:///{own_store()}" and not own_store().exists():
            _make_tables(own_store())
    return mlflow


def must_answer() -> None:
    """Raises Broken within seconds if the registry is a server, and away; unless whoever calls has time."""
    if address().startswith("http") and PATIENCE not in os.environ:
        _require_an_answer(address())


@cache  # once in a process: a run that is at work waits for a server that comes back
def _require_an_answer(address: str) -> None:
    """MLflow would ask one that is away again and again, for four minutes, and then say it in twenty lines."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    patience = {"max_retries": 0, "timeout": ANSWERS_WITHIN, "raise_on_status": False}
    asks = {"experiment_id": "0"}  # a question that its database must answer; whether there is one does not matter
    try:
        answer = http_request(
            get_default_host_creds(address), "/api/2.0/mlflow/experiments/get", "GET", params=asks, **patience
        )
        wrong = f"it answers {answer.status_code}" if answer.status_code in AWAY else ""
    except MlflowException as error:
        wrong = str(error).rpartition(": ")[2].strip("'\") ")
    if wrong:
        raise Broken(
            f"the registry at {_without_password(address)} is away ({wrong}): start that server (`retune up`,"
            " if it is this clone's), or let MLFLOW_TRACKING_URI name another (`retune doctor` checks)"
        )


def wait_patiently() -> None:
    """For a run that nobody watches: a server that is away for a minute is no reason to lose a night."""
    os.environ.setdefault(PATIENCE, MLFLOWS_OWN)


def _make_tables(store: Path) -> None:
    """MLflow makes its tables by seventy migrations, each of which waits for the disk: in memory they take a third.

    The file appears whole, and one that another process has made meanwhile stays.
    """
    from mlflow.store.db.utils import _initialize_tables
    from sqlalchemy import StaticPool, create_engine

    with scratch(store.parent / "scratch") as folder, closing(sqlite3.connect(":memory:")) as memory:
        _initialize_tables(create_engine("sqlite://", creator=lambda: memory, poolclass=StaticPool))
        new_store = Path(folder) / store.name
        with closing(sqlite3.connect(new_store)) as file:
            memory.backup(file)
        with suppress(FileExistsError):
            os.link(new_store, store)


def scratch_root() -> Path:
    """The folders here begin with the number of the process that they belong to; those of the dead are swept."""
    return state() / "scratch"


def scratch(root: Path | None = None) -> tempfile.TemporaryDirectory[str]:
    root = root or scratch_root()
    root.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=root, prefix=f"{os.getpid()}-")


@cache
def lasting_scratch(state: Path) -> Path:
    """One scratch folder for as long as this process lives; in the system's where `state` is only to be read."""
    folder = scratch(state / "scratch" if os.access(state, os.W_OK) else Path(tempfile.gettempdir()))
    atexit.register(folder.cleanup)
    return Path(folder.name)


def client() -> Any:
    return opened().MlflowClient()


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


def pages(search: Callable[..., Any], *words: str) -> Iterator[Any]:
    """Everything that a search finds; MLflow gives it page by page."""
    token = None
    while True:
        page = search(*words, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
