"""A real registry in a SQLite file; each test has models and experiments of its own name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.core import sums
from tasks.core.tracking import registry, runs

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="session")
def names():
    """A name nobody has had."""
    return iter(f"model-{number}" for number in range(1000))


@pytest.fixture
def add(names, tmp_path):
    """Register a version of a folder with one file; which folder matters only to those who load it."""
    folder = tmp_path / "packed"
    folder.mkdir()
    (folder / "model.json").write_text("{}")

    def make(name, fingerprint="f", content=folder, **tags):
        with runs.run(name, "run", {}) as run_id:
            return registry.add_version(name, run_id, content, {"fingerprint": fingerprint, **tags})

    return make


@pytest.fixture
def sealed(names, add, model_folder):
    """A version as it is registered: packed and sealed; and its folder in the store."""

    def make(content=model_folder):
        with registry.packed(content, ["pandas"]) as folder:
            version = add(next(names), content=folder, seal=sums.write(folder))
        return version, registry.version_folder(version)

    return make


@pytest.fixture
def start():
    """Starts a program of its own in a folder."""

    def start(program, folder):
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen([sys.executable, "-c", program], cwd=folder, env=env, stdout=subprocess.PIPE, text=True)

    return start
