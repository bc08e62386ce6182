"""The four services: the command and environment that start each, and the check that it answers.

Passwords reach them by environment and by file: no command line shows one.
"""

import os
import socket
import sys
from contextlib import suppress

from flows.services import credentials, postgres
from flows.services.credentials import USER
from flows.services.state import State, folder, keep, url
from flows.services.supervisor import Service
from retune.errors import Broken
from retune.registry import backend

LOOPBACK = ("127.0.0.1", "localhost", "::1")
NOT_THEIRS = ("MLFLOW_TRACKING_", "PREFECT_API_", "RETUNE_")  # prefixes of variables that the servers must not get


def database_server(state: State) -> Service:
    installation = postgres.installed(folder())
    if isinstance(installation, str):
        raise Broken(f"this clone keeps its registry in PostgreSQL, which no longer runs here: {installation}")
    data, port = folder() / "postgres", state.ports["postgres"]
    postgres.make(installation, data, credentials.read()["database"])
    return Service(
        "postgres",
        [] if state.alive("postgres") else postgres.command(installation, data, port),
        _quiet(),
        lambda: postgres.answers(port, folder() / "pgpass"),
        installation.account,
    )


def prefect(state: State) -> Service:
    login = f"{USER}:{credentials.read()['prefect']}"
    variables = {
        "PREFECT_HOME": str(backend.state() / "prefect"),
        "PREFECT_SERVER_API_AUTH_STRING": login,
        "PREFECT_API_AUTH_STRING": login,
        # In memory, the default, a restart of the server would lose the leases, and end the runs that hold them.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "10",
    }
    if state.database == "postgres":
        variables["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = postgres.address(
            "+asyncpg", state.ports["postgres"], "prefect"
        )
    words = ["-m", "prefect", "server", "start", "--host", state.host, "--port", str(state.ports["prefect"])]
    return Service(
        "prefect",
        [sys.executable, *words],
        _quiet(state, variables),
        lambda: _prefect_answers(f"{url(state, 'prefect')}/api"),
    )


def mlflow(state: State) -> Service:
    passwords, store = credentials.read(), f"sqlite:///{backend.state() / 'mlflow.db'}"
    logins = f"sqlite:///{folder() / 'logins.db'}"
    if state.database == "postgres":
        store = logins = postgres.address("+psycopg", state.ports["postgres"], "mlflow")
    keep(folder() / "mlflow-auth.ini", AUTH.format(logins=logins))
    variables = {
        "MLFLOW_BACKEND_STORE_URI": store,
        "MLFLOW_ARTIFACTS_DESTINATION": (backend.state() / "artifacts").as_uri(),
        "MLFLOW_AUTH_CONFIG_PATH": str(folder() / "mlflow-auth.ini"),
        "MLFLOW_AUTH_ADMIN_USERNAME": USER,
        "MLFLOW_AUTH_ADMIN_PASSWORD": passwords["mlflow"],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": passwords["session"],
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # of language-model features, which Retune does not use
    }
    if state.host not in LOOPBACK:
        names = (*LOOPBACK[:2], socket.gethostname(), *([state.host] if state.host not in ("0.0.0.0", "::") else []))
        variables["MLFLOW_SERVER_ALLOWED_HOSTS"] = ",".join(f"{name}:{state.ports['mlflow']}" for name in names)
    words = ["-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "1"]
    words += ["--host", state.host, "--port", str(state.ports["mlflow"])]
    return Service(
        "mlflow",
        [sys.executable, *words],
        _quiet(state, {**backend.QUIET, **variables}),
        lambda: _answers(f"{url(state, 'mlflow')}/health"),
    )


# One process, so that it caches the check of a password, and a new password counts at once.
AUTH = """\
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = {logins}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""


def worker(state: State) -> Service:
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in credentials.client_variables(state, credentials.read())
    }
    return Service(
        "worker",
        [sys.executable, "-m", "flows.cli", "worker"],
        env,
        lambda: any(state.processes.get("worker") == name for name in workers_online(state)),
    )


def workers_online(state: State) -> list[str]:
    """The names of the workers with a recent heartbeat: each is the name of its process."""
    from flows.execution import prefect_api

    login = (USER, credentials.read()["prefect"])
    server = prefect_api.Server(f"{url(state, 'prefect')}/api", login, timeout=5)
    with suppress(prefect_api.Away, ValueError):
        return [each["name"] for each in prefect_api.workers(server) if each["status"] == "ONLINE"]
    return []


def _quiet(state: State | None = None, variables: dict[str, str] | None = None) -> dict[str, str]:
    """The caller's environment without the variables for commands, plus those of the service."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(NOT_THEIRS)}
    if state and state.database == "postgres":
        env["PGPASSFILE"] = str(folder() / "pgpass")
    return {**env, **(variables or {})}


def _answers(address: str) -> bool:
    import httpx

    with suppress(httpx.HTTPError):
        return httpx.get(address, timeout=5).is_success
    return False


def _prefect_answers(address: str) -> bool:
    from flows.execution import prefect_api

    with suppress(prefect_api.Away):
        return prefect_api.is_healthy(address)
    return False
