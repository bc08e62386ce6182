"""The worker takes runs from the pool, starts each in this clone with this interpreter, and tidies up after runs."""

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

BETWEEN = 10  # seconds between two rounds of tidying: a leaked slot blocks the next run for less than a minute
SETTINGS = {
    "PREFECT_WORKER_QUERY_SECONDS": "5",
    "PREFECT_WORKER_HEARTBEAT_SECONDS": "15",
}
Chore = Callable[[], list[str]]  # returns what was done, in words


def work() -> None:
    """Work until Ctrl-C or SIGTERM, which end its runs too. Schedules stay as they are."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    log = backend.state() / environment.SERVICES / "worker.log"
    run_environment = {"RETUNE_CLONE": str(Path.cwd()), "RETUNE_PYTHON": sys.executable, "RETUNE_RUN_LOG": str(log)}
    os.environ |= run_environment
    print(f"the output of the runs goes to {log}", flush=True)
    from flows.execution import prefect_api
    from flows.scheduling import deployments, resume_approved

    deployments.ensure_pool()
    tidier = run_hygiene.Reconciler()
    _do(tidier.tidy, {})  # before the worker takes its first run, which could be a late one
    for worker in prefect_api.workers():
        if process_identity.here(worker["name"]) and not process_identity.alive(worker["name"]):
            prefect_api.ask("DELETE", f"/work_pools/{prefect_api.pool_name()}/workers/{worker['name']}")
    threading.Thread(target=_forever, args=(tidier.tidy, resume_approved.Waker().wake), daemon=True).start()
    asyncio.run(_work(prefect_api.pool_name()))


def heard() -> bool:
    """Whether a worker of this machine lives and has sent Prefect a heartbeat lately."""
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
    """Do a chore. One that fails stops no other, and is reported once, not every ten seconds."""
    try:
        for message in chore():
            print(message, flush=True)
        last_errors.pop(chore, None)
    except RetuneError as error:
        if last_errors.get(chore) != str(error):
            last_errors[chore] = str(error)
            print(error, flush=True)
