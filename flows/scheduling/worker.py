"""The worker: takes runs from the pool, and starts each in this clone with this interpreter; tidies up beside it."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from flows.project import environment
from flows.scheduling import run_hygiene
from retune.errors import RetuneError
from retune.registry import backend
from retune.system import process_identity

BETWEEN = 10  # seconds between two tidyings: what leaks blocks the next run for less than a minute
SETTINGS = {
    "PREFECT_WORKER_QUERY_SECONDS": "5",
    "PREFECT_WORKER_HEARTBEAT_SECONDS": "15",
}
Chore = Callable[[], list[str]]  # returns what was done, in words


def work() -> None:
    """Until Ctrl-C or SIGTERM; what it runs is ended with it. Schedules stay as they are."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    log = backend.state() / environment.SERVICES / "worker.log"
    run_environment = {"RETUNE_CLONE": str(Path.cwd()), "RETUNE_PYTHON": sys.executable, "RETUNE_RUN_LOG": str(log)}
    os.environ |= run_environment
    print(f"what the runs say goes to {log}", flush=True)
    from flows.execution import prefect_api
    from flows.scheduling import deployments, resume_approved

    deployments.ensure_pool()
    tidier = run_hygiene.Reconciler()
    _do(tidier.tidy, {})  # before the first run is taken, which a late one would be
    for worker in prefect_api.workers():
        if process_identity.here(worker["name"]) and not process_identity.alive(worker["name"]):
            prefect_api.ask("DELETE", f"/work_pools/{prefect_api.pool_name()}/workers/{worker['name']}")
    threading.Thread(target=_forever, args=(tidier.tidy, resume_approved.Waker().wake), daemon=True).start()
    asyncio.run(_work(prefect_api.pool_name()))


def heard() -> bool:
    """Whether Prefect has heard lately from a worker of this machine that lives: it waits for one that was killed."""
    from flows.execution import prefect_api

    return any(each["status"] == "ONLINE" and process_identity.alive(each["name"]) for each in prefect_api.workers())


async def _work(pool: str) -> None:
    from prefect.utilities.processutils import setup_signal_handlers_worker
    from prefect.workers.process import ProcessWorker

    setup_signal_handlers_worker(os.getpid(), "the worker", print)
    worker = ProcessWorker(work_pool_name=pool, name=process_identity.name(), create_pool_if_not_found=False)
    try:
        await worker.start()
    except asyncio.CancelledError:
        print("the worker has stopped; schedules stay as they are", flush=True)


def _forever(*chores: Chore) -> None:
    last_errors: dict[Chore, str] = {}
    while True:
        time.sleep(BETWEEN)
        for chore in chores:
            _do(chore, last_errors)


def _do(chore: Chore, last_errors: dict[Chore, str]) -> None:
    """A chore that cannot be done keeps no other from it, and says so once, not every ten seconds."""
    try:
        for message in chore():
            print(message, flush=True)
        last_errors.pop(chore, None)
    except RetuneError as error:
        if last_errors.get(chore) != str(error):
            last_errors[chore] = str(error)
            print(error, flush=True)
