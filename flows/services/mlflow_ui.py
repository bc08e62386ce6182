"""Start the MLflow UI on the store that Retune uses."""

import os
import socket
import sys

from retune.config import params
from retune.errors import WrongUse
from retune.registry import backend, runs


def serve(port: int) -> None:
    """Say where the UI is, then become its server. Of a server that runs already it only prints the address."""
    if backend.address().startswith(("http://", "https://")):
        print(f"MLflow is at {backend.address()}")
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise WrongUse(f"port {port} is taken on this machine: choose another with --port") from None
    page = runs.runs_page(f"http://127.0.0.1:{port}", params.load().register.name)
    print(f"MLflow UI of {backend.address()}\n  {page}\nCtrl-C stops it.", flush=True)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", backend.address()]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    if root := backend.artifact_root():
        command += ["--default-artifact-root", root]
    os.execve(sys.executable, command, {**os.environ, **backend.QUIET})
