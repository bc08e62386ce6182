"""What our processes and their children need of an environment, and a caller may lack.

Loopback is never asked through a proxy, an account without a home gets one in `.retune`, and a `retune` that was
installed from another clone runs the code of the clone that it is called in.
"""

import getpass
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from retune.errors import Broken

CODE = Path(__file__).resolve().parents[2]  # the clone or package folder that this code is in
ENTRY = Path("flows/cli/main.py")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def bypass_proxies() -> None:
    """Complete NO_PROXY by the names of this machine where a proxy is set: our servers are asked by them."""
    if not any(os.environ.get(name) or os.environ.get(name.upper()) for name in PROXIES):
        return
    values = ",".join(filter(None, (os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY"))))
    hosts = [host.strip() for host in values.split(",") if host.strip()]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(dict.fromkeys([*hosts, *LOOPBACK]))


def give_home(state: Path) -> None:
    """A home and a name for an account that the system knows by its number alone, as in a container.

    Without, tools would make a folder called `~`, or break where they ask for the name.
    """
    try:
        Path.home()
    except RuntimeError:
        (state / "home").mkdir(parents=True, exist_ok=True)
        os.environ["HOME"] = str(state / "home")
    try:
        getpass.getuser()
    except (KeyError, OSError):  # KeyError before Python 3.13
        os.environ["USER"] = f"uid-{os.getuid()}"


def run_own_code(folder: Path | None, arguments: Sequence[str]) -> None:
    """Start this command over with the code in `folder`, the project that it is called in, if that has another.

    Stages run the folder's code anyway; flows of another clone around them would be a mixture of two versions.
    """
    if folder is None or folder.resolve() == CODE or not (folder / ENTRY).is_file():
        return
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if paths[0] == str(folder):  # as after a start of ours: one more would change nothing
        raise Broken(
            f"this `retune` runs the code of {CODE}, not that of {folder}",
            remedy=f"run `make setup` in {folder}, and call {folder}/.venv/bin/retune",
        )
    path = os.pathsep.join([str(folder), *filter(None, paths)])
    os.execve(sys.executable, [sys.executable, "-m", "flows.cli", *arguments], {**os.environ, "PYTHONPATH": path})
