"""Write requirements.lock: one version of each package that pyproject.toml needs, on any platform and Python.

    .venv/bin/python infra/lock.py              what `make lock` calls: a locked version stays while it still fits
    .venv/bin/python infra/lock.py --upgrade    what `make upgrade` calls: the newest version of each

Only the default index counts (pip's `index-url`, or UV_DEFAULT_INDEX). Another one may have a CPU build of torch, which
needs none of the CUDA packages, and they would leave the lock.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from install import PIP, settings, uv, variables

LOCK = Path("requirements.lock")
RESOLVE = ["pip", "compile", "pyproject.toml", "--all-extras", "--no-header", "--no-annotate", "--quiet"]
ANYWHERE = ["--universal", "--python-version", "3.11", "--fork-strategy", "fewest"]
OTHER_PLACES = ("extra-index-url", "find-links")


def main() -> int:
    listing = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True, check=True).stdout
    pip = {name: value for name, value in settings(listing).items() if name not in OTHER_PLACES}
    with tempfile.TemporaryDirectory() as folder:
        resolved = shutil.copy(LOCK, folder)  # uv keeps the versions of the file that it overwrites
        words = [*RESOLVE, *ANYWHERE, "--output-file", resolved, *sys.argv[1:]]
        code = subprocess.run([uv(), *words], env=variables(pip, os.environ)).returncode
        if code:
            return code
        lock = rewritten(LOCK.read_text("utf-8"), Path(resolved).read_text("utf-8"))
    LOCK.write_text(lock, "utf-8")
    return 0


def rewritten(lock: str, resolved: str) -> str:
    """The lock with its own comments and the resolved pins, each without the platforms that need it."""
    comments = [line for line in lock.splitlines() if line.startswith("#")]
    pins = [line.partition(" ;")[0] for line in resolved.splitlines()]
    pins = [pin for pin in pins if not pin.startswith("setuptools==")]  # pyproject.toml pins it, to build with
    names = Counter(pin.partition("==")[0] for pin in pins)
    if twice := sorted(name for name, count in names.items() if count > 1):
        sys.exit(
            f"no locked version fits every Python and platform: {', '.join(twice)}."
            f" Try infra/lock.py --upgrade-package {twice[0]}, else narrow its range in pyproject.toml"
        )
    return "\n".join([*comments, *pins, ""])


if __name__ == "__main__":
    sys.exit(main())
