"""Where Retune lives: the folder that holds dvc.yaml and params.yaml. All state is in `.retune/` of the clone.

The standard variables win: MLFLOW_TRACKING_URI and PREFECT_API_URL say where a registry and a server are. Where they
are not set and the clone has services of its own (`retune up`), its commands use those.
"""

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.project import process_environment
from retune.errors import Broken, WrongUse
from retune.registry.backend import STATE, state
from retune.system import git, process_identity

MARKS = ("dvc.yaml", "params.yaml")
LOCK = Path(".retune/run.lock")
HEARTBEAT = 30  # seconds between two heartbeats of a run: the fewest that Prefect accepts
SERVICES, SERVICES_STATE, SERVICES_ENV = "services", "state.json", "env"  # a folder in .retune, and files there
RIGHTS = (
    "Mount that disk for writing, give this account the right, or work in a clone of your own"
    " (`git clone`, `dvc pull`); commands that only read work here too"
)
SERVED = "RETUNE_SERVING_DATABASE"
FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
SPINS = "1000"  # of a thread that waits for another at a barrier: bench/threads.py
SITE_SWITCH, SITE_FOLDER = "DVC_SITE_CACHE_DIR", "/var/tmp/dvc"  # what DVC remembers of files, to hash them once
BRIEFLY = 20  # seconds that an ingest or forget waits for another command to end


def activate_project(services: bool = True) -> Path:
    """Go to the nearest folder upwards that is a Retune project, and point every tool at its state.

    Raises Broken if the registry is kept by the clone's own services and they are down; not if they need not be up.
    """
    folder = find_project()
    if folder is None:
        raise WrongUse(
            f"{Path.cwd()} is not in a Retune project: no {' and '.join(MARKS)} here or above; change to your clone"
        )
    os.chdir(folder)
    process_environment.give_home(folder / STATE)
    process_environment.bypass_proxies()
    _require_root()
    _set_tool_defaults(state())
    _use_own_site_folder(state())
    _share_the_cores()
    _use_services(state() / SERVICES, services)
    return folder


def find_project() -> Path | None:
    """The nearest folder upwards that is a Retune project."""
    start = Path.cwd()
    folders = (start, *start.parents)
    return next((folder for folder in folders if all((folder / mark).is_file() for mark in MARKS)), None)


@contextmanager
def project_lock(patience: float = 0) -> Iterator[None]:
    """Allow one run, ingest or forget in a folder at a time: a run must read what it records. Waits `patience` seconds.

    Raises Broken if the folder is still busy then.
    """
    from filelock import FileLock, Timeout

    try:
        LOCK.parent.mkdir(exist_ok=True)
        with FileLock(LOCK, timeout=patience):
            yield
    except Timeout:
        raise Broken(
            f"another run, ingest or forget is running in {Path.cwd()}: wait until it ends, or use another clone"
        ) from None


def require_writable() -> None:
    """Raises Broken if Retune cannot write to a folder that servers and stages need."""
    for folder in (Path.cwd(), state(), Path(os.environ.get("PREFECT_HOME", state()))):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            error.filename = folder
            raise Broken(explain_os_error(error)) from None


def explain_os_error(error: OSError) -> str:
    """What could not be written or opened, and what to do about it; of other errors their own message."""
    if error.errno not in FORBIDDEN or not error.filename:
        return str(error)
    cannot = "cannot be written to" if error.errno == errno.EROFS else "cannot be opened"
    return f"{error.filename} {cannot}: {error.strerror}. {RIGHTS}"


def _require_root() -> None:
    """Raises WrongUse where the project is a part of a larger repository, whose commits and state are not its own."""
    if folder := git.subfolder():
        raise WrongUse(
            f"{Path.cwd()} is the subfolder {folder} of a git repository, and Retune works at the root of a repository "
            "of its own: clone it elsewhere, and let the larger repository hold it as a submodule"
        )


def _use_own_site_folder(state: Path) -> None:
    """Let DVC remember files in `.retune` where another account owns the folder that all accounts share."""
    folder = Path(os.environ.get(SITE_SWITCH) or SITE_FOLDER) / "repo"
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        os.environ[SITE_SWITCH] = str(state / "dvc-site")


def _set_tool_defaults(state: Path) -> None:
    state.mkdir(exist_ok=True)
    for name, value in {
        "PREFECT_HOME": str(state / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",  # the default of 20 s is too short on a busy machine
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT),
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "GX_ANALYTICS_ENABLED": "false",
        "DVC_NO_ANALYTICS": "1",
    }.items():
        os.environ.setdefault(name, value)


def _share_the_cores() -> None:
    """Limit how long waiting threads spin. Every process that computes enters the project before it imports torch.

    libgomp's own 300,000 spins make a training step many times as slow beside other work.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():  # the first would override the second
        os.environ["GOMP_SPINCOUNT"] = SPINS


def _use_services(folder: Path, needed: bool) -> None:
    """Use the clone's own servers if they are up and the user named no others."""
    if not all((folder / name).exists() for name in (SERVICES_ENV, SERVICES_STATE)):
        return
    services = json.loads((folder / SERVICES_STATE).read_text("utf-8"))
    variables = dict(line.split("=", 1) for line in (folder / SERVICES_ENV).read_text("utf-8").splitlines())
    if services.get("folder") == str(folder) and SERVED in variables:
        os.environ.setdefault(SERVED, variables[SERVED])  # also where it is down: rows wait for it, in no other file
    for name, switch in {"prefect": "PREFECT_API_URL", "mlflow": "MLFLOW_TRACKING_URI"}.items():
        if os.environ.get(switch):
            continue
        if services.get("folder") == str(folder) and process_identity.alive(services["processes"].get(name, "")):
            prefix = switch.partition("_")[0]
            os.environ |= {each: value for each, value in variables.items() if each.startswith(prefix)}
        elif needed and name == "mlflow" and services["database"] == "postgres":
            raise Broken(
                f"MLflow of this clone ({variables[switch]}), which holds the registry, is down: "
                "start it with `retune up`, or name another registry in MLFLOW_TRACKING_URI"
            )
