"""How a worker starts a run: `python -m flows.start` in the clone, which becomes Prefect's engine.

First it writes down which process it is, so that a run whose process has died can be told from one that is at work; and
if a newer run with the same parameters waits already, this one ends in its favour: late runs collapse to the newest.
"""

import os
import sys

from flows import home


def main() -> None:
    home.enter()
    from flows import server, watch

    run_id = os.environ["PREFECT__FLOW_RUN_ID"]
    watch.sign(run_id)
    try:
        run = server.ask("GET", f"/flow_runs/{run_id}")
        newer = run and watch.gives_way(run)
    except server.Away:  # the engine asks again, more patiently
        newer = None
    if newer:
        print(f"this run gives way to {newer['name']}, which is newer and due as well", flush=True)
        return
    os.execv(sys.executable, [sys.executable, "-m", "prefect.engine"])


if __name__ == "__main__":
    main()
