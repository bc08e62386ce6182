"""How a worker starts a run: `python -m flows.scheduling.run_entrypoint` in the clone, which becomes Prefect's engine.

First it writes down which process it is, so that a run whose process has died can be told from one that is at work; and
if a newer run with the same parameters waits already, this one ends in its favour: late runs collapse to the newest.
"""

import os
import sys
from pathlib import Path

from flows.project import environment
from flows.scheduling import run_hygiene
from retune.registry import backend


def main() -> None:
    environment.activate_project()
    backend.wait_patiently()
    from flows.execution import prefect_api

    run_id = os.environ["PREFECT__FLOW_RUN_ID"]
    _log_to(Path(os.environ["RETUNE_RUN_LOG"]))
    run_hygiene.write_pid(run_id)
    try:
        run = prefect_api.ask("GET", f"/flow_runs/{run_id}")
        newer = run and run_hygiene.supersede(run)
    except prefect_api.Away:  # the engine asks again, and waits longer
        newer = None
    if newer:
        print(f"this run is superseded by {newer['name']}, which is newer and due as well", flush=True)
        return
    os.execv(sys.executable, [sys.executable, "-m", "prefect.engine"])


def _log_to(log: Path) -> None:
    """Send the output to a file rather than a pipe to the worker: the run survives if the worker is killed."""
    log.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)


if __name__ == "__main__":
    main()
