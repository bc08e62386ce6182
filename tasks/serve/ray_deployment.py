"""The same app on a Ray cluster: replicas with versions of their own, behind Ray's proxy. Adapter of Ray Serve.

    retune serve classifier@champion --replicas 4
    RETUNE_RAY_ADDRESS=ray-head:6379 retune serve classifier@champion --replicas 4

Ray starts a replica that died anew, and sends what comes meanwhile to the others. What the dead one was answering ends
with status 500 by Ray's proxy, and has to be asked again. All machines of the cluster see this
project under the same path, and have the same environment and versions of packages.
"""

import os
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from retune.config.params import Params
from retune.config.serving import Serve
from retune.errors import Broken
from tasks.serve import server
from tasks.serve.app import make_app

ADDRESS = "RETUNE_RAY_ADDRESS"
QUIET = {"RAY_USAGE_STATS_ENABLED": "0"}
NAME = "retune"
ENDING = 10  # seconds for the requests of a replica that ends


def serve(
    references: Sequence[str], host: str, port: int, config: Params, replicas: int, on_ready: Callable[[str], None]
) -> None:
    """Answers until SIGTERM or Ctrl-C. Raises WrongUse as `server.serve`, Broken without Ray or its cluster."""
    server.check_access(host)
    ray = _connected()
    try:
        folder = Path.cwd()

        def build() -> Any:
            os.chdir(folder)  # where params, history and a local registry are
            return make_app(server.open_service(references, host, config))

        start(build, host, port, config.serve, replicas)
        on_ready(f"http://{host}:{port}")
        _wait_for_the_end()
    finally:
        ray.serve.shutdown()
        ray.shutdown()


def start(build: Callable[[], Any], host: str, port: int, config: Serve, replicas: int) -> None:
    """Returns once the replicas answer, each with the app that it builds. The process must be connected to Ray."""
    from ray import serve as ray_serve

    deployment: Any = ray_serve.deployment(
        ray_serve.ingress(build)(),
        name=NAME,
        num_replicas=replicas,
        max_ongoing_requests=config.queue_texts,
        graceful_shutdown_timeout_s=ENDING,
        ray_actor_options={"num_cpus": 1},
    )
    ray_serve.start(http_options={"host": host, "port": port})
    try:
        ray_serve.run(deployment.bind(), name=NAME, route_prefix="/")
    except RuntimeError as error:
        raise Broken(f"Ray could not start the replicas: {error}", remedy="the log of Ray says why") from None


def _connected() -> Any:
    os.environ |= {name: value for name, value in QUIET.items() if name not in os.environ}
    try:
        import ray
        import ray.serve
    except ImportError as error:
        raise Broken(f"replicas need Ray Serve ({error})", remedy="pip install 'retune[scale]'") from None
    address = os.environ.get(ADDRESS)
    try:
        ray.init(address=address, include_dashboard=None if address else False, log_to_driver=False)
    except ConnectionError as error:
        raise Broken(f"no Ray cluster answers at {address}: {error}", remedy=f"see {ADDRESS}") from None
    return ray


def _wait_for_the_end() -> None:
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    while not ended.wait(1.0):  # a wait without an end would hold back signals
        pass
