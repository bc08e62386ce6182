"""Check the installation: what is there, what should be, and how to mend the difference."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flows import stage
from flows.schedules import watch
from flows.servers import services
from flows.servers.state import State, folder, url
from tasks.core import base as bases
from tasks.core import params
from tasks.core.errors import RetuneError
from tasks.core.tracking import backend, registry

LEAST_DISK = 5  # GB free: a full fine-tuning keeps a few copies of the weights while it runs


@dataclass(frozen=True)
class Finding:
    name: str
    ok: bool
    found: str
    mend: str


def examine() -> list[Finding]:
    return [_look(name, check, mend) for name, check, mend in CHECKS]


def _look(name: str, check: Callable[[], tuple[bool, str]], mend: str) -> Finding:
    try:
        ok, found = check()
    except RetuneError as error:
        ok, found = False, str(error)
    except Exception as error:  # whatever a broken installation throws is the finding
        ok, found = False, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return Finding(name, ok, found, mend)


def _python() -> tuple[bool, str]:
    return sys.version_info >= (3, 11), f"Python {platform.python_version()} at {sys.executable}"


def _versions() -> tuple[bool, str]:
    wrong = unlike_lock(Path("requirements.lock"))
    return not wrong, "; ".join(wrong) or "every installed package has the version of requirements.lock"


def unlike_lock(lock: Path) -> list[str]:
    """The packages whose installed version is not the locked one. Packages that are not installed do not count."""
    locked = dict(line.split("==") for line in lock.read_text("utf-8").split() if "==" in line)
    wrong = []
    for package, version in locked.items():
        try:
            installed = importlib.metadata.version(package).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
        if installed != version:
            wrong.append(f"{package} is {installed}, locked {version}")
    return wrong


def _params() -> tuple[bool, str]:
    params.load()
    return True, "params.yaml is complete and of the right types"


def _base() -> tuple[bool, str]:
    base = params.load().train.base
    if base.name.startswith("hub:"):
        return True, f"{base.name}: checked when it is fetched"
    found = bases.weights_sha256(bases.find(base.name))
    return found == base.sha256, f"{base.name}, sha256 {found[:12]}…" + ("" if found == base.sha256 else " is another")


def _disk() -> tuple[bool, str]:
    free = shutil.disk_usage(".").free / 1e9
    return free >= LEAST_DISK, f"{free:.1f} GB free here"


def _device() -> tuple[bool, str]:
    import torch

    wanted = params.load().train.device
    if torch.cuda.is_available():
        return True, f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    return wanted != "cuda", f"no CUDA; {torch.get_num_threads()} CPU threads"


def _git() -> tuple[bool, str]:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.returncode == 0, f"at commit {done.stdout.strip()}" if done.returncode == 0 else done.stderr.strip()


def _dvc() -> tuple[bool, str]:
    changed = stage.status()
    return (
        True,
        f"answers; {len(changed)} of its stages and files have changed" if changed else "answers; all is up to date",
    )


def _services() -> tuple[bool, str]:
    """Those of the clone's own servers that should be up and are not."""
    told = services.facts(State.read()) if folder().exists() else []
    if not told:
        return True, "none of its own here (`retune up` starts them)"
    down = [each["name"] for each in told if not each["up"]]
    return not down, f"down: {', '.join(down)}" if down else f"{', '.join(each['name'] for each in told)} are up"


def _schedule() -> tuple[bool, str]:
    found = watch.silent()
    if found.kind in watch.UNWATCHED:
        return True, f"none is watched: {found.words}"
    return found.ok, f"{found.words}" + ("" if found.ok else f" ({found.kind}; {found.mend})")


def _store() -> tuple[bool, str]:
    state = State.read()
    if not os.environ.get("MLFLOW_TRACKING_URI") and state.database == "postgres" and not state.alive("mlflow"):
        return False, f"kept by the services of this clone, and MLflow ({url(state, 'mlflow')}) is down"
    return True, f"{len(registry.versions())} versions in {backend.address()}"


def _prefect() -> tuple[bool, str]:
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return True, "a temporary server for each run (PREFECT_API_URL is not set)"
    import httpx

    return httpx.get(f"{url}/health", timeout=5).is_success, f"server at {url}"


CHECKS: list[tuple[str, Callable[[], tuple[bool, str]], str]] = [
    ("python", _python, "install Python 3.11 or newer, delete .venv, and run `make setup`"),
    ("packages", _versions, "run `make setup`: it installs with requirements.lock as constraints"),
    ("params", _params, "mend params.yaml, or `git checkout params.yaml`"),
    ("base", _base, "reinstall the package or restore the folder that carries the base, or mend train.base"),
    ("disk", _disk, f"free some space: {LEAST_DISK} GB are wanted; `dvc gc --workspace` drops old data"),
    ("device", _device, "install a CUDA build of torch and a driver, or set train.device to auto"),
    ("git", _git, "Retune records the commit of every model: run it in a git clone with one commit at least"),
    ("dvc", _dvc, "read the message; `dvc doctor` tells more"),
    ("registry", _store, "check MLFLOW_TRACKING_URI and that its server is up; unset, a SQLite file is used"),
    ("prefect", _prefect, "start the server that PREFECT_API_URL names, or unset it"),
    ("services", _services, "`retune up` starts what is not up; .retune/services/*.log say why it went down"),
    ("schedule", _schedule, "infra/README.md, What to do when, has a paragraph for each"),
]
