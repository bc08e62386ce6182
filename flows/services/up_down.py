"""Start and stop what a small team needs on one machine: PostgreSQL if installed, Prefect, MLflow and a worker.

`up` starts what is not up yet and waits until it answers; `down` stops exactly that. All state is in
`.retune/services/`.
"""

import json
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from flows.project import environment
from flows.scheduling import run_hygiene
from flows.services import credentials, definitions, postgres
from flows.services.credentials import USER
from flows.services.state import ORDER, State, folder, keep, url
from flows.services.supervisor import Say, end, log_of, start_all, wait_for
from retune.errors import Broken, RetuneError, WrongUse
from retune.registry import backend, sqlite_to_postgres
from retune.system import process_identity

PORTS = {"postgres": 5433, "prefect": 4200, "mlflow": 5000}  # or the next free one
STAYS = {  # why the other database is refused
    "postgres": "this clone keeps its registry in PostgreSQL, and cannot move it back into SQLite: "
    "run `retune up` without --database sqlite, or use a new clone",
    "sqlite": "this clone keeps its registry in SQLite: docs/how-to/operate/troubleshooting.md (Another database) says "
    "how to move it",
}


@dataclass(frozen=True)
class UpRequest:
    """The choices of the user; None: the choice of before, or the default."""

    database: str | None = None
    host: str | None = None
    ports: dict[str, int] = field(default_factory=dict)
    names: tuple[str, ...] = ORDER


def up(request: UpRequest, say: Say = print) -> State:
    """Start every service that is not up. Raises Broken with the last lines of one that does not come up."""
    folder().mkdir(mode=0o711, parents=True, exist_ok=True)  # others may enter: the account of the database must
    with _alone("retune up"), _as_before_if_it_fails(say):
        state = settle(request, State.read(), say)
        credentials.make(state)
        if state.database == "postgres":
            start_all([definitions.database_server(state)], state, say)
            postgres.make_databases(state.ports["postgres"], folder() / "pgpass")
        if "mlflow" in request.names:
            _bring_versions(state, say)
            start_all([definitions.prefect(state), definitions.mlflow(state)], state, say)
        if "worker" in request.names:
            start_all([definitions.worker(state)], state, say)
        return state


@contextmanager
def _as_before_if_it_fails(say: Say) -> Iterator[None]:
    """Stop what this `up` has started and discard its choices, so that the next one can choose again.

    Only where the registry is kept is not: versions that have been moved into PostgreSQL stay there.
    """
    before, had_state = State.read(), (folder() / environment.SERVICES_STATE).exists()
    try:
        yield
    except BaseException:
        after = State.read()
        for name in reversed(ORDER):
            if after.processes.get(name) != before.processes.get(name):
                end(name, say)
        if (backend.state() / sqlite_to_postgres.MOVED).exists():
            before.database = after.database
        with suppress(OSError):  # a full disk: the first error says so
            _write_again(before, had_state)
        raise


def _write_again(state: State, had_state: bool) -> None:
    if not had_state and not state.database:
        (folder() / environment.SERVICES_STATE).unlink(missing_ok=True)
        return
    state.write()
    if {"prefect", "mlflow"} <= state.ports.keys() and credentials.read():
        credentials.write(state, credentials.read())


def settle(request: UpRequest, state: State, say: Say = print) -> State:
    """Choose database, host and ports once, and store them: addresses stay the same."""
    if state.database and request.database not in (None, state.database):
        raise WrongUse(STAYS[state.database])
    _refuse_one_port_for_two(request.ports, state)
    running = [name for name in PORTS if state.alive(name)]
    if running and request.host not in (None, state.host):
        problem = f"{', '.join(running)} listen on {state.host}"
        raise WrongUse(f"{problem}: run `retune down` first, then `retune up --host {request.host}`")
    state.host = request.host or state.host
    state.database = state.database or _choose(request.database, say)
    for name in [each for each in PORTS if each != "postgres" or state.database == "postgres"]:
        _settle_port(name, request.ports.get(name), state, say)
    state.write()
    return state


def _choose(database: str | None, say: Say) -> str:
    if database == "sqlite":
        return database
    installation = postgres.installed(folder())
    if not isinstance(installation, str):
        return "postgres"
    if database:
        raise WrongUse(installation)
    initial = installation[0].lower() if installation.startswith("The") else installation[0]
    say(f"SQLite, since {initial}{installation[1:]}")
    return "sqlite"


def _settle_port(name: str, requested_port: int | None, state: State, say: Say) -> None:
    if state.alive(name):
        if requested_port not in (None, state.ports[name]):
            raise WrongUse(
                f"{name} is up at port {state.ports[name]}: run `retune down` first, then `retune up` with another port"
            )
        return
    if end(name, say):  # left by a killed server, which frees its port a moment later
        wait_for(lambda: _free(state.host, state.ports.get(name, 0)), 10)
    state.ports[name] = _port(name, requested_port, state)


def _refuse_one_port_for_two(requested_ports: dict[str, int], state: State) -> None:
    """The ports of the request, and for other services the ports of before."""
    holders: dict[int, str] = {}
    for name, port in {**state.ports, **requested_ports}.items():
        if name == "postgres" and state.database == "sqlite":
            continue
        other = holders.setdefault(port, name)
        if other != name:
            raise WrongUse(f"{other} and {name} cannot both use port {port}: choose another with --{name}-port N")


def _port(name: str, requested_port: int | None, state: State) -> int:
    """The port of the request, else the port of before, else the first free one from the usual one on."""
    port = requested_port or state.ports.get(name)
    if port:
        if not _free(state.host, port):
            raise WrongUse(
                f"another program uses port {port} of {name}: choose another with `retune up --{name}-port N`"
            )
        return port
    used_ports = set(state.ports.values())
    return next(
        number for number in range(PORTS[name], 65536) if number not in used_ports and _free(state.host, number)
    )


def _free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _bring_versions(state: State, say: Say) -> None:
    """Move the versions of the clone's SQLite file into PostgreSQL, once, so that there is one registry."""
    if state.database == "postgres":
        moved = sqlite_to_postgres.move_store(
            backend.state() / "mlflow.db",
            postgres.address("+psycopg", state.ports["postgres"], "mlflow"),
            folder() / "pgpass",
        )
        if moved:
            say(f"moved {moved} rows of .retune/mlflow.db into PostgreSQL; the file stays as mlflow.db.moved")


def down(say: Say = print) -> list[str]:
    """Stop what `up` started, the worker first and the database last. Returns the names of the services."""
    if not folder().exists():
        return []
    with _alone("retune down"):
        state = State.read()
        stopped = []
        for name in reversed(ORDER):
            if end(name, say):
                stopped.append(name)
                _close_runs(name, state)
        state.processes = {}
        if state.database:
            state.write()
        return stopped


def _close_runs(service: str, state: State) -> None:
    """Close the runs of the worker, which ended with it, while Prefect still answers: they must not look alive."""

    if service == "worker" and state.alive("prefect"):
        with suppress(RetuneError):
            run_hygiene.Reconciler().tidy()


@contextmanager
def _alone(who: str) -> Iterator[None]:
    from filelock import FileLock, Timeout

    try:
        with FileLock(folder() / "lock", timeout=0):
            yield
    except Timeout:
        raise Broken(
            f"another `retune up` or `retune down` is running here: wait for it, then run {who} again"
        ) from None


def rotate_passwords(say: Say = print) -> State:
    """Set new passwords for database, Prefect and MLflow, and a new session key; then restart what uses them."""
    state, passwords = State.read(), credentials.read()
    if any(not state.alive(name) for name in ("prefect", "mlflow")) or not passwords:
        raise WrongUse("passwords can only be rotated while the services are up: run `retune up` first")
    with _alone("retune rotate-passwords"):
        new = {name: secrets.token_urlsafe(24) for name in passwords}
        # for a person who finds this killed half-way: docs/how-to/operate/rotate-secrets.md
        keep(folder() / "secrets.next.json", json.dumps(new, indent=2))
        _set_mlflow_password(state, passwords["mlflow"], new["mlflow"])
        if state.database == "postgres":
            postgres.set_password(state.ports["postgres"], folder() / "pgpass", new["database"])
        credentials.write(state, new)
        (folder() / "secrets.next.json").unlink()
        worker = state.alive("worker")
        for name in ("worker", "mlflow", "prefect"):
            end(name, say)
    return up(UpRequest(names=ORDER if worker else ORDER[:3]), say)


def _set_mlflow_password(state: State, old: str, new: str) -> None:
    import httpx

    response = httpx.patch(
        f"{url(state, 'mlflow')}/api/2.0/mlflow/users/update-password",
        json={"username": USER, "password": new, "current_password": old},
        auth=(USER, old),
        timeout=30,
    )
    if not response.is_success:
        raise Broken(f"MLflow did not take the new password: {response.status_code} {response.text[:200]}")


def facts(state: State) -> list[dict[str, Any]]:
    """The services with their addresses and whether they are up, for people and programs."""
    names = [name for name in ORDER if name != "postgres" or state.database == "postgres"]
    return [
        {
            "name": name,
            "up": state.alive(name),
            "address": url(state, name)
            if name in ("prefect", "mlflow")
            else f"127.0.0.1:{state.ports[name]}"
            if name in state.ports
            else None,
            "pid": process_identity.number(state.processes[name]) if state.alive(name) else None,
            "log": str(log_of(name)),
        }
        for name in names
    ]
