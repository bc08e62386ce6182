"""A flow run that suspends until a person has decided, on a real Prefect server with a real work pool and worker."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from uuid import UUID

import psutil
import pytest

from retune.config import params
from retune.lineage import record
from retune.registry import versions
from tasks.promote import approval, gate_decision
from tests.support.environment import ROOT
from tests.support.git_repo import init_repository

SHIPPED = params.load(ROOT / "params.yaml").promote
FLOW = """
import os
from pathlib import Path
from prefect import flow
from flows.retraining import approval
from tasks.promote import gate_decision, succession
from retune.registry import versions, runs

@flow
def waits(name: str, number: int) -> None:
    with Path("events").open("a") as events:
        pending = approval.pending()
        print("began", os.getpid(), pending, file=events, flush=True)
        version = approval.suspend(pending or versions.find(name, version=number))
        print("ended", "promoted" if succession.decided(version).promote else "held", file=events, flush=True)
"""


@pytest.fixture
def worker_folder(tmp_path, monkeypatch, prefect_url):
    """A repository and registry of its own, and a worker whose pool runs one flow at a time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    (tmp_path / "waits.py").write_text(FLOW)
    init_repository(tmp_path)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_HOME": str(tmp_path / "home")}
    with (tmp_path / "worker.log").open("w") as log:
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", tmp_path.name, "--type", "process"]
        worker = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        try:
            yield tmp_path
        finally:
            worker.terminate()
            worker.wait(120)


@pytest.fixture
def start_flow(worker_folder):
    """Begins a run of the flow above by its deployment, which allows one at a time; returns its id."""
    from prefect import flow
    from prefect.client.schemas.objects import ConcurrencyLimitConfig
    from prefect.deployments import run_deployment

    until(lambda: "started" in (worker_folder / "worker.log").read_text(), worker_folder)
    flow.from_source(str(worker_folder), entrypoint="waits.py:waits").deploy(
        worker_folder.name,
        worker_folder.name,
        concurrency_limit=ConcurrencyLimitConfig(limit=1),
        print_next_steps=False,
        ignore_warnings=True,
    )

    def start(version):
        words = {"name": version.name, "number": version.version}
        return str(run_deployment(f"waits/{worker_folder.name}", parameters=words, timeout=0).id)

    return start


def until(holds, worker_folder, seconds=240):
    limit = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < limit, (worker_folder / "worker.log").read_text()[-3000:]
        time.sleep(0.5)


def state(flow_run_id):
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return client.read_flow_run(UUID(flow_run_id)).state.name


def lines_of_flow(worker_folder):
    return (
        [line.split() for line in (worker_folder / "events").read_text().splitlines()]
        if (worker_folder / "events").exists()
        else []
    )


def yes(version):
    approval.approve(approval.read_evidence(version, None), "fine", lambda _: {"Checked": "fine"})


def no(version):
    approval.reject(approval.read_evidence(version, None), "worse")


@pytest.mark.long
def test_a_flow_run_sleeps_until_a_person_has_decided_and_then_ends_quickly(worker_folder, start_flow, register_tiny):
    from flows.retraining import approval as flow_approval

    champion = register_tiny("m")
    gate_decision.promote(champion, record.read(versions.version_folder(champion) / record.FILE), SHIPPED)
    waiting, runs = [], []
    for number in (2, 3):  # the second starts while the first sleeps, though only one may run at a time
        version = register_tiny("m", champion="m/1")
        record_facts = record.read(versions.version_folder(version) / record.FILE)
        assert gate_decision.promote(version, record_facts, replace(SHIPPED, approval=True)).awaiting
        waiting.append(version)
        runs.append(start_flow(version))
        until(lambda: state(runs[-1]) == "Suspended", worker_folder)
        until(lambda: not psutil.pid_exists(int(lines_of_flow(worker_folder)[-1][1])), worker_folder, 60)
        assert lines_of_flow(worker_folder)[-1][::2] == ["began", "None"]
        assert flow_approval.pending(runs[-1]).version == number

    assert flow_approval.resume(runs[1])  # by hand, without an answer: it sleeps again
    until(lambda: len(lines_of_flow(worker_folder)) == 3 and state(runs[1]) == "Suspended", worker_folder)
    assert lines_of_flow(worker_folder)[-1][2] == "m/3"

    yes(versions.find("m", version=2))
    assert flow_approval.resume(runs[0])
    until(lambda: state(runs[0]) == "Completed", worker_folder)
    assert lines_of_flow(worker_folder)[-1] == ["ended", "promoted"]
    assert versions.champion("m").version == 2
    no(versions.find("m", version=3))
    assert flow_approval.resume(runs[1])
    until(lambda: state(runs[1]) == "Completed", worker_folder)
    assert lines_of_flow(worker_folder)[-1] == ["ended", "held"]

    assert not flow_approval.resume(runs[0]), "it does not sleep any more"
    assert not flow_approval.resume("00000000-0000-0000-0000-000000000000")
    assert not flow_approval.resume("nonsense")


def test_without_a_server_nothing_is_resumed(monkeypatch):
    from flows.retraining import approval as flow_approval

    run = "00000000-0000-0000-0000-000000000000"
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert not flow_approval.resume(run)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert not flow_approval.resume(run)
