"""Whether a worker of this machine is heard from, as its container is asked, and what it does beside its runs."""

import os
import signal
import subprocess
import sys

import pytest

from flows.execution import prefect_api
from flows.scheduling import worker
from retune.errors import Refused
from retune.system import process_identity


@pytest.fixture
def idle_process():
    """A process that has nothing to do."""
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield sleeper
    sleeper.kill()
    sleeper.wait(30)


def test_a_worker_that_was_killed_is_not_heard_from_though_its_server_still_waits_for_it(idle_process, monkeypatch):
    online = {"name": process_identity.name(idle_process.pid), "status": "ONLINE"}
    monkeypatch.setattr(prefect_api, "workers", lambda: [{"name": "elsewhere 7@1", "status": "ONLINE"}, online])
    assert worker.heard()
    os.kill(idle_process.pid, signal.SIGKILL)
    idle_process.wait(30)
    assert not worker.heard()


def test_one_that_lives_and_is_silent_is_not_heard_from_either(idle_process, monkeypatch):
    monkeypatch.setattr(
        prefect_api, "workers", lambda: [{"name": process_identity.name(idle_process.pid), "status": "OFFLINE"}]
    )
    assert not worker.heard()


def test_a_chore_that_cannot_be_done_is_said_once_and_once_more_after_it_could(capsys):
    answers, lines = [Refused("the history is broken"), Refused("the history is broken"), ["swept"]] * 2, {}

    def sweep():
        answer = answers.pop(0)
        if isinstance(answer, Refused):
            raise answer
        return answer

    for _ in range(6):
        worker._do(sweep, lines)
    assert capsys.readouterr().out.splitlines() == ["the history is broken", "swept"] * 2
