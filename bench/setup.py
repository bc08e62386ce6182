"""How long `make setup` takes with uv, and with pip alone, in one sitting. The goal: a third of pip's time at most.

    python bench/setup.py [--warm] [--json FILE]

Two fresh virtual environments in a temporary folder, each filled from requirements.lock: one by infra/install.py (which
installs uv first where it is nowhere), one by pip. Both begin with empty caches of their own; --warm leaves them those
of the account. pip compiles what it installs, uv leaves that to the first import, so the first import is told too.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "infra"))

from install import PACKAGES  # noqa: E402

WAYS = {"uv": ["infra/install.py"], "pip": ["-m", "pip", "--disable-pip-version-check", "install", *PACKAGES]}
IMPORT = "import mlflow, prefect, torch, transformers"


def seconds(command: list[str], environment: dict[str, str]) -> float:
    start = time.monotonic()
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{process.stdout[-3000:]}{process.stderr[-3000:]}")
    if "so pip does" in process.stderr:
        sys.exit(f"uv failed, so there is nothing to compare:\n{process.stderr[-3000:]}")
    return time.monotonic() - start


def measure(folder: Path, warm: bool) -> dict[str, float]:
    figures = {}
    for way, words in WAYS.items():
        caches = {"UV_CACHE_DIR": str(folder / "uv-cache"), "PIP_CACHE_DIR": str(folder / f"{way}-pip-cache")}
        environment = {**os.environ, **({} if warm else caches)}
        seconds([sys.executable, "-m", "venv", str(folder / way)], environment)
        python = str(folder / way / "bin/python")
        figures[way] = seconds([python, *words], environment)
        figures[f"{way}, first import"] = seconds([python, "-c", IMPORT], environment)
    figures["uv / pip"] = figures["uv"] / figures["pip"]
    whole = {way: figures[way] + figures[f"{way}, first import"] for way in WAYS}
    figures["uv / pip, with the first import"] = whole["uv"] / whole["pip"]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--warm", action="store_true", help="with the caches of this account")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = {name: round(value, 2) for name, value in measure(Path(folder), options.warm).items()}
    for name, value in figures.items():
        print(f"{name:34}{value:8.2f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
