"""Where Retune lives: the folder that holds dvc.yaml and params.yaml. All state is in `.retune/` of the clone.

The standard variables win: MLFLOW_TRACKING_URI and PREFECT_API_URL say where a registry and a server are.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.core import lineage
from tasks.core.errors import Broken, WrongUse

MARKS = ("dvc.yaml", "params.yaml")
LOCK = Path(".retune/run.lock")
BRIEFLY = 20  # seconds that an ingest or forget waits for another to end


def enter() -> Path:
    """Go to the nearest folder upwards that is a Retune project, and point every tool at its state."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if all((folder / mark).is_file() for mark in MARKS):
            os.chdir(folder)
            _point_at(lineage.clone() / ".retune")
            return folder
    raise WrongUse(f"{here} is in no Retune project: no {' and '.join(MARKS)} here or above; go to your clone")


@contextmanager
def alone(patience: float = 0) -> Iterator[None]:
    """One run, ingest or forget in one folder at a time: a run must read what it records. Waits `patience` seconds."""
    from filelock import FileLock, Timeout

    try:
        LOCK.parent.mkdir(exist_ok=True)
        with FileLock(LOCK, timeout=patience):
            yield
    except Timeout:
        raise Broken(
            f"another run is at work in {Path.cwd()}, or an ingest or forget: wait for it, or work in another clone"
        ) from None


def _point_at(state: Path) -> None:
    state.mkdir(exist_ok=True)
    for name, value in {
        "PREFECT_HOME": str(state / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",  # its 20 s are too few on a busy machine
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "GX_ANALYTICS_ENABLED": "false",
        "DVC_NO_ANALYTICS": "1",
    }.items():
        os.environ.setdefault(name, value)
