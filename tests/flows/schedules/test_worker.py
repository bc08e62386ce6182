"""Whether a worker of this machine is heard from, which the health check of its container asks."""

import os
import signal
import subprocess
import sys

import pytest

from flows.schedules import server, worker
from tasks.core import process


@pytest.fixture
def another():
    """A process that has nothing to do."""
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield sleeper
    sleeper.kill()
    sleeper.wait(30)


def test_a_worker_that_was_killed_is_not_heard_from_though_its_server_still_waits_for_it(another, monkeypatch):
    online = {"name": process.name(another.pid), "status": "ONLINE"}
    monkeypatch.setattr(server, "workers", lambda: [{"name": "elsewhere 7@1", "status": "ONLINE"}, online])
    assert worker.heard()
    os.kill(another.pid, signal.SIGKILL)
    another.wait(30)
    assert not worker.heard()


def test_one_that_lives_and_is_silent_is_not_heard_from_either(another, monkeypatch):
    monkeypatch.setattr(server, "workers", lambda: [{"name": process.name(another.pid), "status": "OFFLINE"}])
    assert not worker.heard()
