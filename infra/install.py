"""Install Retune and what it needs for the interpreter that runs this: by uv, or by pip where uv fails.

    .venv/bin/python infra/install.py        what `make setup` calls, at the root of the clone

uv takes a fraction of pip's time (bench/setup.py) and reads none of pip's settings. So where pip looks for packages,
and whose certificates it trusts, is handed on, whether it stands in a variable or in a pip.conf. Variables of uv's own
win.
"""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

PACKAGES = ["-c", "requirements.lock", "-e", ".[dev]"]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
SECTIONS = ("global.", "install.", ":env:.")  # of `pip config list`; a later one wins
UV_NAMES = {  # pip's setting -> the variables by which uv has the same; the first is the one to set
    "index-url": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
    "extra-index-url": ("UV_INDEX", "UV_EXTRA_INDEX_URL"),
    "find-links": ("UV_FIND_LINKS",),
    "cert": ("SSL_CERT_FILE",),
}


def main() -> int:
    try:
        listing = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True, check=True).stdout
        environment = variables(settings(listing), os.environ)
        subprocess.run([uv(), "pip", "install", "--python", sys.executable, *PACKAGES], env=environment, check=True)
        return 0
    except (OSError, subprocess.CalledProcessError) as error:
        reason = f"exit code {error.returncode}" if isinstance(error, subprocess.CalledProcessError) else error
        print(f"uv could not install ({reason}), so pip does: that takes longer", file=sys.stderr, flush=True)
    return subprocess.run([*PIP, "install", *PACKAGES]).returncode


def settings(listing: str) -> dict[str, str]:
    """pip's setting -> its value, from what `pip config list` prints of variables and files."""
    lines = [line.partition("=") for line in listing.splitlines()]
    return {
        name.removeprefix(section): str(ast.literal_eval(value))
        for section in SECTIONS
        for name, _, value in lines
        if name.startswith(section)
    }


def variables(pip: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """uv's environment: the given one, with pip's settings where it has nothing of uv's own."""
    extended = dict(environment)
    for setting, names in UV_NAMES.items():
        if setting in pip and not any(environment.get(name) for name in names):
            between = "," if setting == "find-links" else " "
            extended[names[0]] = between.join(map(os.path.expanduser, pip[setting].split()))
            if setting == "extra-index-url":  # as pip does: the best of all indexes, not whatever the first one has
                extended.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return extended


def uv() -> str:
    """The path of uv: beside this interpreter, else on the PATH, else installed beside this interpreter."""
    own = Path(sys.executable).parent / "uv"
    if not own.exists() and (elsewhere := shutil.which("uv")):
        return elsewhere
    if not own.exists():
        subprocess.run([*PIP, "install", "--quiet", "-c", "requirements.lock", "uv"], check=True)
    return str(own)


if __name__ == "__main__":
    sys.exit(main())
