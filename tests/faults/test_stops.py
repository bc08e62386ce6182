"""Stopped by a signal or from Prefect: the trainer's whole family ends within ten seconds, and every page says so."""

import signal
import subprocess
import sys
import threading
import time

import httpx
import psutil
import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

WITHIN = 10  # seconds
# A trainer that does not listen, with a child that does not either, in the place of the real one. Where there is a GPU,
# it holds some of its memory.
STUBBORN = """\
import signal, subprocess, sys, time, torch
held = torch.ones(2**28, device="cuda") if torch.cuda.is_available() else None
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", deaf], start_new_session=True)
print("at work", child.pid, flush=True)
time.sleep(600)
"""
DEPLOY = """\
import sys
from flows.pipeline import pipeline
flow = pipeline.from_source(source=sys.argv[1], entrypoint="flows/pipeline.py:pipeline")
flow.deploy(name="test", work_pool_name="pool", ignore_warnings=True, print_next_steps=False)
"""


@pytest.fixture
def stubborn_run(staged_run):
    """A road just before training, whose trainer listens to no signal."""
    staged_run.begin("split")
    (staged_run.folder / "tasks/train/__main__.py").write_text(STUBBORN, "utf-8")
    return staged_run


def listen(process):
    """What a process says, from a thread of its own, and a wait for a word in it."""
    lines = []

    def read():
        for line in process.stdout:
            lines.append(line)

    threading.Thread(target=read, daemon=True).start()

    def until(word, seconds=120):
        end = time.monotonic() + seconds
        while not any(word in line for line in lines):
            assert time.monotonic() < end, "".join(lines)
            time.sleep(0.05)

    return lines, until


def newest(staged_run):
    """Status of the newest MLflow run."""
    program = (
        "from retune.registry import backend; c = backend.client(); e = c.get_experiment_by_name('classifier')\n"
        "print(c.search_runs([e.experiment_id], order_by=['start_time DESC'])[0].info.status)"
    )
    return staged_run.clone.python("-c", program).stdout.split()[-1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_run_ends_its_trainer_within_ten_seconds_and_says_so(stubborn_run, number, code):
    process = stubborn_run.clone.start(*stubborn_run.commands["split"])
    lines, until = listen(process)
    until("at work")
    (trainer,) = trainers(stubborn_run.folder)
    began = time.monotonic()
    process.send_signal(number)
    freed = wait_until_gone(trainer, began)
    assert process.wait(60) == code, "".join(lines)
    took = time.monotonic() - began
    print(f"the trainer was gone after {freed:.1f} s, the command after {took:.1f} s")
    assert took < WITHIN
    assert stubborn_run.left_alive(2) == []
    assert "retune: stopped" in "".join(lines)
    assert "Traceback" not in "".join(lines)
    assert newest(stubborn_run) == "KILLED"


def test_a_temporary_server_ends_with_a_killed_run(staged_run):
    staged_run.begin("scored")
    url = staged_run.clone.env.pop("PREFECT_API_URL")
    try:
        process = staged_run.clone.start(*staged_run.commands["scored"])
        lines, until = listen(process)
        until("Task run 'curate'")
        process.kill()
        process.wait()
        assert staged_run.left_alive(5) == []
        assert "Starting temporary server" in "".join(lines)
    finally:
        staged_run.clone.env["PREFECT_API_URL"] = url


def test_a_cancel_from_prefect_ends_the_trainer_and_says_so_in_mlflow(stubborn_run):
    url = stubborn_run.clone.env["PREFECT_API_URL"]
    for words in (["-m", "prefect", "work-pool", "create", "pool", "--type", "process", "--overwrite"],):
        assert (process := stubborn_run.clone.python(*words)).returncode == 0, process.stdout + process.stderr
    deployed = stubborn_run.clone.python("-c", DEPLOY, stubborn_run.folder)
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    settings = [f"{word}" for word in stubborn_run.commands["split"][1:] if word != "-S"]
    stubborn_run.clone.python("-c", f"from flows.project import params_editor; params_editor.write({settings!r})")
    worker = subprocess.Popen(
        [sys.executable, "-m", "prefect", "worker", "start", "--pool", "pool", "--type", "process"],
        cwd=stubborn_run.folder,
        env=stubborn_run.clone.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines, until = listen(worker)
    try:
        (deployment,) = httpx.post(f"{url}/deployments/filter", json={}).json()
        flow_run = httpx.post(f"{url}/deployments/{deployment['id']}/create_flow_run", json={}).json()
        until("at work")
        (trainer,) = trainers(stubborn_run.folder)
        began = time.monotonic()
        state = {"state": {"type": "CANCELLING"}}
        httpx.post(f"{url}/flow_runs/{flow_run['id']}/set_state", json=state).raise_for_status()
        took = wait_until_gone(trainer, began)
        end = time.monotonic() + 60
        while (state_type := httpx.get(f"{url}/flow_runs/{flow_run['id']}").json()["state"]["type"]) == "CANCELLING":
            assert time.monotonic() < end
            time.sleep(0.2)
        assert state_type == "CANCELLED", "".join(lines)
        assert took < WITHIN, f"{took:.1f} s"
        assert newest(stubborn_run) == "KILLED"
        print(f"the trainer was gone after {took:.1f} s")
    finally:
        worker.terminate()
        worker.wait(60)
    assert stubborn_run.left_alive() == []


def trainers(folder):
    """The trainer that is at work in a folder, without the shell and the guard that carry its name in their words."""
    return [each for each in psutil.process_iter() if is_trainer(each, folder)]


def is_trainer(process, folder):
    try:
        return process.cwd() == str(folder) and process.cmdline()[1:3] == ["-m", "tasks.train"]
    except psutil.Error:
        return False


def wait_until_gone(process, began):
    """Seconds from `began` to the end of a process, waited for a minute at most."""
    psutil.wait_procs([process], timeout=60)
    return time.monotonic() - began
