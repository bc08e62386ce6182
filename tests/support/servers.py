"""Real servers that tests talk to: Prefect's, one a session, and one that takes notifications."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest

from tests.support.environment import QUIET


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(address, process, seconds=120):
    """Wait until `address` answers 200; fail if the process that should answer has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the server ended with {process.returncode}"
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"{address} did not answer within {seconds} s")


@pytest.fixture
def port():
    return free_port()


@pytest.fixture(scope="session")
def prefect_url(fill_once):
    """A real Prefect server for the whole session, and for all its workers. `pytest_sessionfinish` stops it."""
    return json.loads((fill_once("prefect", start_prefect) / "server.json").read_text("utf-8"))["url"]


def start_prefect(home):
    port = free_port()
    env = {**os.environ, **QUIET, "PREFECT_HOME": str(home)}
    env.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (home / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    server = {"url": f"http://127.0.0.1:{port}/api", "pid": process.pid}
    (home / "server.json").write_text(json.dumps(server), "utf-8")
    wait_for(f"http://127.0.0.1:{port}/api/health", process)


def pytest_sessionfinish(session):
    """Last of all, and where no worker is left, so the server may go."""
    factory = session.config._tmp_path_factory
    if hasattr(session.config, "workerinput") or not factory._basetemp:
        return
    for path in factory.getbasetemp().glob("prefect/server.json"):
        with suppress(psutil.NoSuchProcess):
            server = psutil.Process(json.loads(path.read_text("utf-8"))["pid"])
            server.terminate()
            server.wait(30)


@pytest.fixture
def webhook():
    with open_webhook() as port_and_messages:
        yield port_and_messages


@pytest.fixture(scope="module")
def module_webhook():
    """One for all tests of a module."""
    with open_webhook() as port_and_messages:
        yield port_and_messages


@contextmanager
def open_webhook():
    """The port of a server that takes notifications, and what it took: slowly below /slow/, nothing below /no/."""
    notifications = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_POST(self):
            notification = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if "/slow/" in self.path:
                time.sleep(3)
            if "/no/" not in self.path:
                notifications.append(notification)
            self.send_response(403 if "/no/" in self.path else 200)
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server.server_address[1], notifications
    server.shutdown()
    server.server_close()


@pytest.fixture
def wait_for_server():
    return wait_for
