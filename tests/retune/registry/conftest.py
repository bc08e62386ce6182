"""A real registry in a SQLite file; each test has models and experiments of its own name."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from subprocess import PIPE

import pytest

from retune.lineage import checksums
from retune.registry import backend, runs, versions
from tests.support.environment import ROOT


@pytest.fixture(scope="session")
def model_names():
    """A name nobody has had."""
    return iter(f"model-{number}" for number in range(1000))


@pytest.fixture
def add_version(model_names, tmp_path):
    """Register a version of a folder with one file; which folder matters only to those who load it."""
    folder = tmp_path / "packed"
    folder.mkdir()
    (folder / "model.json").write_text("{}")

    def make(name, fingerprint="f", content=folder, **tags):
        with runs.run(name, "run", {}) as run_id:
            return versions.add_version(name, run_id, content, {"fingerprint": fingerprint, **tags})

    return make


@pytest.fixture
def sealed_version(model_names, add_version, model_folder):
    """A version as it is registered: packed and sealed; and its folder in the store."""

    def make(content=model_folder):
        with versions.packed(content, ["pandas"]) as folder:
            version = add_version(next(model_names), content=folder, seal=checksums.write(folder))
        return version, versions.version_folder(version)

    return make


@pytest.fixture
def start_program():
    """Starts a program of its own in a folder."""

    def start(program, folder, *words):
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", program, *words]
        return subprocess.Popen(command, cwd=folder, env=env, stdin=PIPE, stdout=PIPE, text=True)

    return start


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory):
    """The address of a real MLflow server, and the folder into which it puts artifacts."""
    folder = tmp_path_factory.mktemp("served")
    backend._make_tables(folder / "mlflow.db")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    words = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "kept")]
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", port, *words]
    with (folder / "log").open("w") as log, subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as server:
        try:
            _wait_for(f"http://127.0.0.1:{port}/health")
            yield f"http://127.0.0.1:{port}", folder / "kept"
        finally:
            server.terminate()


def _wait_for(url, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.3)
    raise AssertionError(f"{url} did not answer within {seconds} s")


@pytest.fixture
def server_artifacts(mlflow_server, tmp_path, monkeypatch):
    """A clone whose registry is that server, with a folder for temporary files. What the server keeps is returned."""
    address, artifacts = mlflow_server
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)  # where Python remembers it
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    return artifacts
