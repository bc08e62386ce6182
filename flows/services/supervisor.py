"""Starts a service, waits for it, and ends it with every process that it started.

Which are ours is told by number and time of start, and by a mark in the environment that all that they start inherits:
never by a name.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flows.services import credentials, postgres
from flows.services.state import State, folder
from retune.errors import Broken
from retune.registry import backend
from retune.system import process_identity

Say = Callable[[str], None]

MARK = "RETUNE_SERVICE"  # in the environment of every process of a service: FOLDER:NAME
PATIENCE = 180  # seconds for a service to answer
GRACE = {"postgres": 30, "prefect": 15, "mlflow": 15, "worker": 40}  # seconds between SIGTERM and SIGKILL
LAST_LINES = 12  # of the log of a service that does not come up
LARGEST_LOG = 20_000_000  # bytes; a larger log becomes NAME.log.1 at the next start


@dataclass(frozen=True)
class Service:
    name: str
    command: list[str]
    env: dict[str, str]
    answers: Callable[[], bool]
    account: str | None = None


def start_all(services: list[Service], state: State, say: Say) -> None:
    """Start the services that are not up, all at once, then wait for each."""
    began = {}
    for service in services:
        if state.alive(service.name):
            say(f"{service.name:9}is already up")
            continue
        began[service.name] = time.monotonic()
        state.processes[service.name] = _start(service)
        state.write()
    for service in services:
        _await(service, state)
        if service.name in began:
            say(f"{service.name:9}is up, after {time.monotonic() - began[service.name]:.0f} s")


def _start(service: Service) -> str:
    """Start a service in a session of its own. Returns the name of its process."""
    log = log_of(service.name)
    if log.exists() and log.stat().st_size > LARGEST_LOG:
        log.replace(log.with_suffix(".log.1"))
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log_file:
        process = subprocess.Popen(
            service.command,
            env={**service.env, MARK: _mark(service.name)},
            cwd="/" if service.account else backend.state().parent,
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=log_file,
            start_new_session=True,
            **postgres.as_account(service.account),  # type: ignore[call-overload]
        )
    return process_identity.name(process.pid)


def _await(service: Service, state: State) -> None:
    until = time.monotonic() + PATIENCE
    while not service.answers():
        if not state.alive(service.name):
            raise Broken(f"{service.name} did not come up; the last lines of {log_of(service.name)}:\n{_tail(service)}")
        if time.monotonic() > until:
            raise Broken(
                f"{service.name} is running but did not answer within {PATIENCE} s: `retune down`, then `retune up`; "
                f"the last lines of {log_of(service.name)}:\n{_tail(service)}"
            )
        time.sleep(0.2)


def _tail(service: Service) -> str:
    lines = log_of(service.name).read_text("utf-8", "replace").splitlines()[-LAST_LINES:]
    text = "\n".join(f"  {line}" for line in lines)
    for secret in credentials.read().values():
        text = text.replace(secret, "(a password)")
    return text


def log_of(name: str) -> Path:
    return folder() / f"{name}.log"


def end(name: str, say: Say = print) -> bool:
    """Stop a service and every process that it started. Whether there was anything to stop."""
    state = State.read()
    leader = state.processes.get(name, "")
    family = list(_family(name))
    if not process_identity.alive(leader) and not family:
        return False
    if process_identity.alive(leader):
        _ask(name, process_identity.number(leader))
    wait_for(lambda: not process_identity.alive(leader), GRACE[name])
    for pid in {*family, *_family(name)} | (
        {process_identity.number(leader)} if process_identity.alive(leader) else set()
    ):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not process_identity.alive(leader) and not list(_family(name)), 10)
    say(f"{name:9}is down")
    return True


def _ask(name: str, pid: int) -> None:
    """Ask a service to end: the database by SIGINT, on which it closes connections; others as a process group."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT) if name == "postgres" else os.killpg(pid, signal.SIGTERM)


def _family(name: str) -> Iterator[int]:
    """The processes that carry the mark of a service, also those whose parent was killed."""
    import psutil

    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    for each in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            ours = each.pid not in spared and each.environ().get(MARK) == _mark(name)
            if ours and each.status() != psutil.STATUS_ZOMBIE:
                yield each.pid


def _mark(name: str) -> str:
    return f"{folder()}:{name}"


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.1)
