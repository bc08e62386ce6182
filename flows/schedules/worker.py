"""The worker: takes runs from the pool, and starts each in this clone with this interpreter; tidies up beside it."""

import asyncio
import os
import sys
import threading
import time
from pathlib import Path

from flows import home
from tasks.core import process
from tasks.core.errors import Broken

BETWEEN = 10  # seconds between two tidyings: what leaks blocks the next run for less than a minute
SETTINGS = {
    "PREFECT_WORKER_QUERY_SECONDS": "5",
    "PREFECT_WORKER_HEARTBEAT_SECONDS": "15",
}


def work() -> None:
    """Until Ctrl-C or SIGTERM; what it runs is ended with it. Schedules stay as they are."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    log = home.state() / home.SERVICES / "worker.log"
    own = {"RETUNE_CLONE": str(Path.cwd()), "RETUNE_PYTHON": sys.executable, "RETUNE_RUN_LOG": str(log)}
    os.environ |= own
    print(f"what the runs say goes to {log}", flush=True)
    from flows.schedules import schedule, server, watch

    schedule.ensure_pool()
    tidier = watch.Tidier()
    for said in tidier.tidy():  # before the first run is taken, which a late one would be
        print(said, flush=True)
    for left in server.workers():
        if process.here(left["name"]) and not process.alive(left["name"]):
            server.ask("DELETE", f"/work_pools/{server.POOL}/workers/{left['name']}")
    threading.Thread(target=_tidy_forever, args=(tidier,), daemon=True).start()
    asyncio.run(_work(server.POOL))


def heard() -> bool:
    """Whether Prefect has heard lately from a worker of this machine that lives: it waits for one that was killed."""
    from flows.schedules import server

    return any(each["status"] == "ONLINE" and process.alive(each["name"]) for each in server.workers())


async def _work(pool: str) -> None:
    from prefect.utilities.processutils import setup_signal_handlers_worker
    from prefect.workers.process import ProcessWorker

    setup_signal_handlers_worker(os.getpid(), "the worker", print)
    worker = ProcessWorker(work_pool_name=pool, name=process.name(), create_pool_if_not_found=False)
    try:
        await worker.start()
    except asyncio.CancelledError:
        print("the worker has stopped; schedules stay as they are", flush=True)


def _tidy_forever(tidier: "watch.Tidier") -> None:  # type: ignore[name-defined]  # noqa: F821
    told = ""
    while True:
        time.sleep(BETWEEN)
        try:
            for said in tidier.tidy():
                print(said, flush=True)
            told = ""
        except Broken as error:
            if str(error) != told:  # once, not every ten seconds
                told = str(error)
                print(told, flush=True)
