"""A server in this process: its socket, its models, its signals. Adapter of uvicorn."""

import errno
import logging
import socket
import time
from collections.abc import Callable, Sequence
from types import FrameType

import uvicorn

from retune.config.params import Params
from retune.config.serving import Serve
from retune.errors import Broken, WrongUse
from retune.registry import versions
from retune.serving import api_keys, database, kept_text, rollouts
from retune.serving.live_version import Engine, LiveVersion
from retune.serving.quarantine import Quarantine
from retune.serving.request_log import RequestLog
from retune.serving.rollout_arms import ArmSources
from retune.serving.version_loader import Loader
from tasks.serve.app import make_app
from tasks.serve.service import Access, Service

LOOPBACK = ("127.0.0.1", "::1", "localhost")
LINGER = 1.0  # seconds after SIGTERM in which /ready says that the server ends, and requests are still taken
GRACE = 8  # seconds for requests that are under way then
BACKLOG = 2048


class Server(uvicorn.Server):
    """Ends in order: first /ready says no, then no connection is taken, then the last requests end."""

    def __init__(self, service: Service) -> None:
        config = uvicorn.Config(
            make_app(service),
            access_log=False,
            log_level=logging.WARNING,
            timeout_graceful_shutdown=GRACE,
            server_header=False,
            lifespan="on",
            log_config=None,
        )
        super().__init__(config)
        self._service, self._stop_at = service, float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # uvicorn's signature
        if self._service.draining:  # a second signal: now
            self.should_exit = True
        self._service.draining = True
        self._stop_at = time.monotonic() + LINGER

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or time.monotonic() >= self._stop_at


def serve(
    references: Sequence[str], host: str, port: int, config: Params, on_ready: Callable[[str, Service], None]
) -> None:
    """Answers until SIGTERM or Ctrl-C. on_ready: is given the address and the service before the first request.

    Raises WrongUse for a host that is not loopback without an API key, Refused for a version that cannot be served,
    Broken if the port is taken.
    """
    check_access(host)  # before the port is taken
    with _listen(host, port) as listener:
        service = open_service(references, host, config)
        place = f"[{host}]" if ":" in host else host
        on_ready(f"http://{place}:{listener.getsockname()[1]}", service)
        Server(service).run(sockets=[listener])


def check_access(host: str) -> api_keys.KeyRing:
    """The keys of clients. Raises WrongUse for a host that is not loopback without an API key."""
    keys = api_keys.KeyRing(api_keys.path())
    if host not in LOOPBACK and not len(keys):
        raise WrongUse(
            f"--host {host} lets other machines ask, and there is no API key",
            remedy="`retune api-keys create NAME --scope predict` makes one",
        )
    return keys


def open_service(references: Sequence[str], host: str, config: Params) -> Service:
    """The versions, loaded, with the keys and the log: what an app answers with. Raises as `serve`."""
    keys, public = check_access(host), host not in LOOPBACK
    loader = Loader(config.serve)
    models = [_live(reference, config.serve, loader) for reference in references]
    names = [live.served.name for live in models]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise WrongUse(f"{', '.join(twice)} is named twice: serve one version of a model")
    access = Access(keys, public, None if public else (*LOOPBACK, "[::1]"))
    engine, pii = database.connect(), config.curate.pii
    policy = kept_text.text_policy(config.serve.log.text, pii)
    quarantine = Quarantine(engine, config.feedback.per_person_per_hour, policy)
    log = RequestLog(engine, config.serve.log, pii)
    sources = ArmSources(
        lambda name: rollouts.latest(engine, name),
        lambda reference: loader.load(reference, versions.resolve(reference)),
        (lambda reference: loader.load_base(versions.resolve(reference))) if config.rollout.base_arm else None,
    )
    return Service(config.serve, config.rollout, models, access, log, quarantine, sources)


def _live(reference: str, config: Serve, loader: Loader) -> LiveVersion:
    def load(version: versions.Version) -> Engine:
        return loader.load(reference, version)

    return LiveVersion(reference, versions.resolve, load, config.deadline_seconds)


def _listen(host: str, port: int) -> socket.socket:
    """Raises Broken if the port is taken, WrongUse for a host that is none of this machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise WrongUse(f"--host {host} is no address of this machine: {error.strerror}") from None
        raise Broken(
            f"{host} port {port} cannot be had ({error.strerror}): end what listens there, or name another --port"
        ) from None
