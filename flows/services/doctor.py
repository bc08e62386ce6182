"""Check the installation: what is there, what should be, and how to fix the difference."""

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from flows.execution import dvc, environment_checks, locked_packages, prefect_api
from flows.scheduling import health
from flows.services import up_down
from flows.services.state import State, folder, url
from retune.config import params
from retune.data import suppression
from retune.errors import Refused, RetuneError
from retune.lineage import history
from retune.models import base_model as bases
from retune.registry import backend, versions
from tasks import trigger

LEAST_DISK = 5  # GB free: a full fine-tuning keeps a few copies of the weights while it runs


@dataclass(frozen=True)
class Finding:
    name: str
    ok: bool
    found: str
    mend: str


class Fault(RetuneError):
    """A finding with another remedy than that of its check."""


def examine(around: Callable[[str], AbstractContextManager[None]]) -> Iterator[Finding]:
    """One finding after another. around: entered, with the name of a check, while that check looks."""
    for name, check, mend in [*CHECKS, *map(_of_a_run, environment_checks.CHECKS)]:
        with around(name):
            finding = _look(name, check, mend)
        yield finding


def _of_a_run(check: environment_checks.EnvironmentCheck) -> tuple[str, Callable[[], tuple[bool, str]], str]:
    return check.name, lambda: (True, check.look(_load_params())), "read the message; every run asks for it first"


def _look(name: str, check: Callable[[], tuple[bool, str]], mend: str) -> Finding:
    try:
        ok, report = check()
    except RetuneError as error:
        ok, report, mend = False, error.message if error.remedy else str(error), error.remedy or mend
    except Exception as error:  # any error of a broken installation is the finding
        ok, report = False, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return Finding(name, ok, report, mend)


def _python() -> tuple[bool, str]:
    return sys.version_info >= (3, 11), f"Python {platform.python_version()} at {sys.executable}"


def _versions() -> tuple[bool, str]:
    differing = locked_packages.unlike_lock()
    wrong = [f"{name} is {installed}, locked {locked}" for name, (installed, locked) in differing.items()]
    return not wrong, "; ".join(wrong) or "every installed package has the version of requirements.lock"


def _params() -> tuple[bool, str]:
    params.load()
    return True, "params.yaml is complete and of the right types"


def _load_params() -> params.Params:
    """The parameters, for the checks that need them; where params.yaml is wrong, that comes first."""
    try:
        return params.load()
    except RetuneError:
        raise Fault(
            "not checked: params.yaml is wrong", remedy="correct params.yaml first, as params says above"
        ) from None


def _base() -> tuple[bool, str]:
    base = _load_params().train.base
    if base.name.startswith("hub:"):
        return True, f"{base.name}: checked when it is fetched"
    sha256 = bases.weights_sha256(bases.find(base.name))
    same = sha256 == base.sha256
    return same, f"{base.name}, sha256 {sha256[:12]}…" + ("" if same else " differs")


def _disk() -> tuple[bool, str]:
    free = shutil.disk_usage(".").free / 1e9
    return free >= LEAST_DISK, f"{free:.1f} GB free here"


def _device() -> tuple[bool, str]:
    import torch

    device = _load_params().train.device
    if torch.cuda.is_available():
        return True, f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    return device != "cuda", f"no CUDA; {torch.get_num_threads()} CPU threads"


def _dvc() -> tuple[bool, str]:
    changed = dvc.status()
    return (
        True,
        f"answers; {len(changed)} of its stages and files have changed" if changed else "answers; all is up to date",
    )


def _services() -> tuple[bool, str]:
    """Whether the clone's own servers are up, as far as they should be."""
    services = up_down.facts(State.read()) if folder().exists() else []
    if not services:
        return True, "none of its own here (`retune up` starts them)"
    down = [each["name"] for each in services if not each["up"]]
    return not down, f"down: {', '.join(down)}" if down else f"{', '.join(each['name'] for each in services)} are up"


def _schedule() -> tuple[bool, str]:
    status = health.check_health()
    if status.kind in health.UNWATCHED:
        return True, f"not monitored: {status.words}"
    return status.ok, f"{status.words}" + ("" if status.ok else f" ({status.kind}; {status.mend})")


def _require_served() -> None:
    state = State.read()
    if not os.environ.get("MLFLOW_TRACKING_URI") and state.database == "postgres" and not state.alive("mlflow"):
        raise Fault(
            f"`retune up` serves it, and MLflow ({url(state, 'mlflow')}) is down", remedy="`retune up` starts it"
        )


def _store() -> tuple[bool, str]:
    _require_served()
    return True, f"{len(versions.versions())} versions in {backend.address()}"


def _champion() -> tuple[bool, str]:
    """What `retune predict` and the next rollback rely on: its files, and that it learned from no suppressed row."""
    name = _load_params().register.name
    try:
        _require_served()
        champion = versions.champion(name)
    except Exception:  # any error of a store that does not answer: `registry` reports it
        raise Fault(
            "not checked: the registry does not answer", remedy="solve that first, as registry says above"
        ) from None
    if champion is None:
        return True, f"{name} has none yet"
    versions.checked_folder(champion)
    _require_free_of_suppressed(champion)
    return True, f"{champion}: its files are those that were registered, and no row it learned from is suppressed"


def _require_free_of_suppressed(champion: versions.Version) -> None:
    try:
        count = trigger.suppressed_rows(history.read(champion.name), suppression.read())
    except Refused as error:
        raise Fault(
            f"cannot tell whether {champion} learned from suppressed rows: {error}",
            remedy=f"correct {suppression.LIST}, or `dvc pull` the rows of {champion}",
        ) from None
    if count:
        rows = "1 row that is" if count == 1 else f"{count} rows that are"
        raise Fault(
            f"{champion} learned from {rows} suppressed now",
            remedy="`retune retrain`, or `retune promote NAME/VERSION --reason TEXT` with a newer one without them",
        )


def _prefect() -> tuple[bool, str]:
    address = os.environ.get("PREFECT_API_URL")
    if not address:
        return True, "a temporary server for each run (PREFECT_API_URL is not set)"
    return prefect_api.is_healthy(address), f"server at {address}"


CHECKS: list[tuple[str, Callable[[], tuple[bool, str]], str]] = [
    ("python", _python, "install Python 3.11 or newer, delete .venv, and run `make setup`"),
    ("packages", _versions, "run `make setup`: it installs with requirements.lock as constraints"),
    ("params", _params, "correct params.yaml, or `git checkout params.yaml`"),
    ("base", _base, "reinstall the package or restore the folder that holds the base, or correct train.base"),
    ("disk", _disk, f"free some space: Retune needs {LEAST_DISK} GB; `dvc gc --workspace` drops old data"),
    ("device", _device, "install a CUDA build of torch and a driver, or set train.device to auto"),
    ("dvc", _dvc, "read the message; `dvc doctor` tells more"),
    (
        "registry",
        _store,
        "check MLFLOW_TRACKING_URI, and that its server, or the one of `retune up`, is up",
    ),
    ("champion", _champion, "`retune rollback --reason TEXT` makes the champion before it champion again"),
    ("prefect", _prefect, "start the server that PREFECT_API_URL names, or unset it"),
    ("services", _services, "`retune up` starts what is not up; .retune/services/*.log say why it went down"),
    ("schedule", _schedule, "docs/how-to/operate/troubleshooting.md has a line for each"),
]
