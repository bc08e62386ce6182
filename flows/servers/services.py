"""What a small team needs on one machine: PostgreSQL where it is installed, Prefect, MLflow and a worker.

`up` starts what is not up yet and waits until it answers; `down` stops exactly that. Which processes are ours is told
by number and time of start, and by a mark in the environment that all that they start inherits: never by a name.
All state is in `.retune/services/`; passwords are made here, stand in files that only the owner reads, and on no
command line.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows import home
from flows.servers import database
from tasks.core import process, registry
from tasks.core.errors import Broken, RetuneError, WrongUse

Say = Callable[[str], None]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PORTS = {"postgres": 5433, "prefect": 4200, "mlflow": 5000}  # or the next free one
ORDER = ("postgres", "prefect", "mlflow", "worker")
MARK = "RETUNE_SERVICE"  # in the environment of whatever a service starts: FOLDER:NAME
PATIENCE = 180  # seconds for a service to answer
GRACE = {"postgres": 30, "prefect": 15, "mlflow": 15, "worker": 40}  # seconds between asking to end and ending
LAST_LINES = 12  # of the log of a service that does not come up
LARGEST_LOG = 20_000_000  # bytes; a larger log becomes NAME.log.1 at the next start
USER = "retune"
PASSWORDS = ("database", "prefect", "mlflow", "session")
NOT_THEIRS = ("MLFLOW_TRACKING_", "PREFECT_API_", "RETUNE_")  # variables that the servers have no business with


@dataclass
class State:
    """What is chosen once and kept, and which processes are at work."""

    folder: str = ""  # a copy of the clone must not take the processes of the first for its own
    database: str = ""
    host: str = "127.0.0.1"
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls) -> "State":
        path = folder() / home.SERVICES_STATE
        told = cls(**json.loads(path.read_text("utf-8"))) if path.exists() else cls()
        return told if told.folder == str(folder()) else cls(str(folder()), told.database)

    def write(self) -> None:
        keep(folder() / home.SERVICES_STATE, json.dumps(self.__dict__, indent=2))

    def alive(self, name: str) -> bool:
        return process.alive(self.processes.get(name, ""))


@dataclass(frozen=True)
class Wanted:
    """What the user asked for; None is what was chosen before, or the default."""

    database: str | None = None
    host: str | None = None
    ports: dict[str, int] = field(default_factory=dict)
    names: tuple[str, ...] = ORDER


@dataclass(frozen=True)
class Service:
    name: str
    command: list[str]
    env: dict[str, str]
    answers: Callable[[], bool]
    account: str | None = None


def folder() -> Path:
    return registry.state() / home.SERVICES


# ---------------------------------------------------------------- up


def up(wanted: Wanted, say: Say = print) -> State:
    """Start what is not up. Returns what is up then; raises Broken with the last lines of what does not come up."""
    folder().mkdir(mode=0o711, parents=True, exist_ok=True)  # others may pass, as the database's account must
    with _alone("retune up"):
        state = settle(wanted, State.read(), say)
        passwords(state)
        if state.database == "postgres":
            _start_all([_postgres(state)], state, say)
            database.make_databases(state.ports["postgres"], folder() / "pgpass")
        if "mlflow" in wanted.names:
            _bring_versions(state, say)
            _start_all([_prefect(state), _mlflow(state)], state, say)
        if "worker" in wanted.names:
            _start_all([_worker(state)], state, say)
        return state


def settle(wanted: Wanted, state: State, say: Say = print) -> State:
    """Choose database, host and ports, once for all, and keep them: addresses stay what they were."""
    if state.database and wanted.database not in (None, state.database):
        raise WrongUse(
            f"this clone keeps its registry in {state.database}: it cannot be brought up on {wanted.database} "
            "(infra/README.md says how to move)"
        )
    running = [name for name in PORTS if state.alive(name)]
    if running and wanted.host not in (None, state.host):
        raise WrongUse(f"{', '.join(running)} listen on {state.host}: `retune down` first, then up with {wanted.host}")
    state.host = wanted.host or state.host
    state.database = state.database or _choose(wanted.database, say)
    for name in [each for each in PORTS if each != "postgres" or state.database == "postgres"]:
        _settle_port(name, wanted.ports.get(name), state, say)
    state.write()
    return state


def _choose(asked: str | None, say: Say) -> str:
    if asked == "sqlite":
        return asked
    found = database.installed(folder())
    if isinstance(found, str):
        if asked:
            raise WrongUse(found)
        say(f"SQLite, since {found[0].lower() if found.startswith('The') else found[0]}{found[1:]}")
        return "sqlite"
    return "postgres"


def _settle_port(name: str, asked: int | None, state: State, say: Say) -> None:
    if state.alive(name):
        if asked not in (None, state.ports[name]):
            raise WrongUse(f"{name} is up at port {state.ports[name]}: `retune down` first, then up with another port")
        return
    if end(name, say):  # what a killed one left; it lets go of its port a moment later
        _wait_for(lambda: _free(state.host, state.ports.get(name, 0)), 10)
    state.ports[name] = _port(name, asked, state)


def _port(name: str, asked: int | None, state: State) -> int:
    """The port asked for, else the one that it had, else the first free one from its usual one on."""
    chosen = asked or state.ports.get(name)
    if chosen:
        if not _free(state.host, chosen):
            raise WrongUse(f"port {chosen}, where {name} belongs, is in use by another: `retune up --{name}-port N`")
        return chosen
    taken = set(state.ports.values())
    return next(port for port in range(PORTS[name], 65536) if port not in taken and _free(state.host, port))


def _free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _start_all(services: list[Service], state: State, say: Say) -> None:
    """Start those that are not up, all at once, then wait for each."""
    began = {}
    for service in services:
        if state.alive(service.name):
            say(f"{service.name:9}is up already")
            continue
        began[service.name] = time.monotonic()
        state.processes[service.name] = _start(service)
        state.write()
    for service in services:
        _await(service, state)
        if service.name in began:
            say(f"{service.name:9}is up, after {time.monotonic() - began[service.name]:.0f} s")


def _start(service: Service) -> str:
    """Start it in a session of its own. Returns the name of its process."""
    log = log_of(service.name)
    if log.exists() and log.stat().st_size > LARGEST_LOG:
        log.replace(log.with_suffix(".log.1"))
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as told:
        started = subprocess.Popen(
            service.command,
            env={**service.env, MARK: _mark(service.name)},
            cwd="/" if service.account else registry.state().parent,
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
            start_new_session=True,
            **database.as_account(service.account),  # type: ignore[call-overload]
        )
    return process.name(started.pid)


def _await(service: Service, state: State) -> None:
    until = time.monotonic() + PATIENCE
    while not service.answers():
        if not state.alive(service.name):
            raise Broken(f"{service.name} did not come up; the last lines of {log_of(service.name)}:\n{_tail(service)}")
        if time.monotonic() > until:
            raise Broken(
                f"{service.name} is at work but did not answer within {PATIENCE} s: `retune down`, then `retune up`; "
                f"the last lines of {log_of(service.name)}:\n{_tail(service)}"
            )
        time.sleep(0.2)


def _tail(service: Service) -> str:
    lines = log_of(service.name).read_text("utf-8", "replace").splitlines()[-LAST_LINES:]
    told = "\n".join(f"  {line}" for line in lines)
    for secret in secrets_kept().values():
        told = told.replace(secret, "(a password)")
    return told


def log_of(name: str) -> Path:
    return folder() / f"{name}.log"


def _mark(name: str) -> str:
    return f"{folder()}:{name}"


# ---------------------------------------------------------------- down


def down(say: Say = print) -> list[str]:
    """Stop what `up` started, the worker first and the database last. Returns the names of what was stopped."""
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


def _close_runs(ended: str, state: State) -> None:
    """What the worker ran has ended with it: Prefect is told while it is there, so that nobody finds it running."""
    from flows.schedules import watch

    if ended == "worker" and state.alive("prefect"):
        with suppress(RetuneError):
            watch.Tidier().tidy()


def end(name: str, say: Say = print) -> bool:
    """Stop a service and all that it started. Whether there was anything to stop."""
    state = State.read()
    leader = state.processes.get(name, "")
    family = list(_family(name))
    if not process.alive(leader) and not family:
        return False
    if process.alive(leader):
        _ask(name, process.number(leader))
    _wait_for(lambda: not process.alive(leader), GRACE[name])
    for pid in {*family, *_family(name)} | ({process.number(leader)} if process.alive(leader) else set()):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _wait_for(lambda: not process.alive(leader) and not list(_family(name)), 10)
    say(f"{name:9}is down")
    return True


def _ask(name: str, pid: int) -> None:
    """The database ends its own children, and disconnects whoever is there on SIGINT; others are told as a group."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT) if name == "postgres" else os.killpg(pid, signal.SIGTERM)


def _family(name: str) -> Iterator[int]:
    """The processes that carry the mark of a service: also those whose parent was killed."""
    import psutil

    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    for each in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            ours = each.pid not in spared and each.environ().get(MARK) == _mark(name)
            if ours and each.status() != psutil.STATUS_ZOMBIE:
                yield each.pid


def _wait_for(condition: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.1)


@contextmanager
def _alone(who: str) -> Iterator[None]:
    from filelock import FileLock, Timeout

    try:
        with FileLock(folder() / "lock", timeout=0):
            yield
    except Timeout:
        raise Broken(f"another `retune up` or `retune down` is at work here: wait for it, then {who} again") from None


# ---------------------------------------------------------------- passwords


def passwords(state: State) -> dict[str, str]:
    """Those of this clone, made the first time, and the files that tell them to whom they concern."""
    kept = secrets_kept()
    kept |= {
        name: secrets.token_urlsafe(24) for name in ("database", "prefect", "mlflow", "session") if name not in kept
    }
    write_passwords(state, kept)
    return kept


def secrets_kept() -> dict[str, str]:
    path = folder() / "secrets.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def write_passwords(state: State, kept: dict[str, str]) -> None:
    keep(folder() / "secrets.json", json.dumps(kept, indent=2))
    if state.database == "postgres":
        keep(folder() / "pgpass", database.pgpass(state.ports["postgres"], kept["database"]))
    lines = [f"{name}={value}\n" for name, value in client_variables(state, kept).items()]
    keep(folder() / home.SERVICES_ENV, "".join(lines))


def client_variables(state: State, kept: dict[str, str]) -> dict[str, str]:
    """What a command, or a program of somebody else's, needs to use the servers."""
    return {
        "PREFECT_API_URL": f"{url(state, 'prefect')}/api",
        "PREFECT_API_AUTH_STRING": f"{USER}:{kept['prefect']}",
        "MLFLOW_TRACKING_URI": url(state, "mlflow"),
        "MLFLOW_TRACKING_USERNAME": USER,
        "MLFLOW_TRACKING_PASSWORD": kept["mlflow"],
    }


def url(state: State, name: str) -> str:
    host = (
        "127.0.0.1"
        if state.host in ("0.0.0.0", "localhost")
        else "[::1]"
        if state.host in ("::", "::1")
        else state.host
    )
    return f"http://{host}:{state.ports[name]}"


def keep(path: Path, text: str) -> None:
    """Write a file whole that only its owner reads."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    unfinished.replace(path)


# ---------------------------------------------------------------- the services


def _postgres(state: State) -> Service:
    found = database.installed(folder())
    if isinstance(found, str):
        raise Broken(f"this clone keeps its registry in PostgreSQL, which does not run here any more: {found}")
    data, port = folder() / "postgres", state.ports["postgres"]
    database.make(found, data, secrets_kept()["database"])
    return Service(
        "postgres",
        [] if state.alive("postgres") else database.command(found, data, port),
        _quiet(),
        lambda: database.answers(port, folder() / "pgpass"),
        found.account,
    )


def _prefect(state: State) -> Service:
    login = f"{USER}:{secrets_kept()['prefect']}"
    own = {
        "PREFECT_HOME": str(registry.state() / "prefect"),
        "PREFECT_SERVER_API_AUTH_STRING": login,
        "PREFECT_API_AUTH_STRING": login,
        # In memory, which is the default, the server's restart would lose them, and end the runs that hold them.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "10",
    }
    if state.database == "postgres":
        own["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database.address("+asyncpg", state.ports["postgres"], "prefect")
    words = ["-m", "prefect", "server", "start", "--host", state.host, "--port", str(state.ports["prefect"])]
    return Service(
        "prefect",
        [sys.executable, *words],
        _quiet(state, own),
        lambda: _answers(f"{url(state, 'prefect')}/api/health"),
    )


def _mlflow(state: State) -> Service:
    kept, store = secrets_kept(), f"sqlite:///{registry.state() / 'mlflow.db'}"
    logins = f"sqlite:///{folder() / 'logins.db'}"
    if state.database == "postgres":
        store = logins = database.address("+psycopg", state.ports["postgres"], "mlflow")
    keep(folder() / "mlflow-auth.ini", AUTH.format(logins=logins))
    own = {
        "MLFLOW_BACKEND_STORE_URI": store,
        "MLFLOW_ARTIFACTS_DESTINATION": (registry.state() / "artifacts").as_uri(),
        "MLFLOW_AUTH_CONFIG_PATH": str(folder() / "mlflow-auth.ini"),
        "MLFLOW_AUTH_ADMIN_USERNAME": USER,
        "MLFLOW_AUTH_ADMIN_PASSWORD": kept["mlflow"],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": kept["session"],
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # runs jobs for language-model features: not for us
    }
    if state.host not in LOOPBACK:
        names = (*LOOPBACK[:2], socket.gethostname(), *([state.host] if state.host not in ("0.0.0.0", "::") else []))
        own["MLFLOW_SERVER_ALLOWED_HOSTS"] = ",".join(f"{name}:{state.ports['mlflow']}" for name in names)
    words = ["-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "1"]
    words += ["--host", state.host, "--port", str(state.ports["mlflow"])]
    return Service(
        "mlflow",
        [sys.executable, *words],
        _quiet(state, {**registry.QUIET, **own}),
        lambda: _answers(f"{url(state, 'mlflow')}/health"),
    )


# One process, so that a password checked a minute ago need not be hashed again, and a changed one counts at once.
AUTH = """\
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = {logins}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""


def _worker(state: State) -> Service:
    env = {name: value for name, value in os.environ.items() if name not in client_variables(state, secrets_kept())}
    return Service(
        "worker",
        [sys.executable, "-m", "flows.cli", "worker"],
        env,
        lambda: any(state.processes.get("worker") == name for name in workers_online(state)),
    )


def workers_online(state: State) -> list[str]:
    """The names of the workers that Prefect has heard from lately: each is the name of its process."""
    import httpx

    from flows.schedules.server import POOL

    login = (USER, secrets_kept()["prefect"])
    with suppress(httpx.HTTPError, ValueError):
        told = httpx.post(
            f"{url(state, 'prefect')}/api/work_pools/{POOL}/workers/filter", json={}, auth=login, timeout=5
        )
        return [each["name"] for each in told.json() if each["status"] == "ONLINE"] if told.is_success else []
    return []


def _quiet(state: State | None = None, own: dict[str, str] | None = None) -> dict[str, str]:
    """The caller's environment without what is meant for commands, and the service's own."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(NOT_THEIRS)}
    if state and state.database == "postgres":
        env["PGPASSFILE"] = str(folder() / "pgpass")
    return {**env, **(own or {})}


def _answers(address: str) -> bool:
    import httpx

    with suppress(httpx.HTTPError):
        return httpx.get(address, timeout=5).is_success
    return False


# ---------------------------------------------------------------- what was there before


def _bring_versions(state: State, say: Say) -> None:
    """The versions of the clone's SQLite file go into PostgreSQL once, so that there is one registry."""
    if state.database == "postgres":
        moved = registry.move_store(
            registry.state() / "mlflow.db",
            database.address("+psycopg", state.ports["postgres"], "mlflow"),
            folder() / "pgpass",
        )
        if moved:
            say(f"{moved} rows of .retune/mlflow.db were brought into PostgreSQL; the file stays, as mlflow.db.moved")


# ---------------------------------------------------------------- other passwords


def rotate(say: Say = print) -> State:
    """New passwords for database, Prefect, MLflow, and a new session key; whatever uses them is started again."""
    state, kept = State.read(), secrets_kept()
    if any(not state.alive(name) for name in ("prefect", "mlflow")) or not kept:
        raise WrongUse("passwords are rotated while the services are up: `retune up` first")
    with _alone("retune rotate"):
        new = {name: secrets.token_urlsafe(24) for name in kept}
        keep(
            folder() / "secrets.next.json", json.dumps(new, indent=2)
        )  # for who finds us dead half-way: infra/README.md
        _set_mlflow_password(state, kept["mlflow"], new["mlflow"])
        if state.database == "postgres":
            database.set_password(state.ports["postgres"], folder() / "pgpass", new["database"])
        write_passwords(state, new)
        (folder() / "secrets.next.json").unlink()
        worker = state.alive("worker")
        for name in ("worker", "mlflow", "prefect"):
            end(name, say)
    return up(Wanted(names=ORDER if worker else ORDER[:3]), say)


def _set_mlflow_password(state: State, old: str, new: str) -> None:
    import httpx

    told = httpx.patch(
        f"{url(state, 'mlflow')}/api/2.0/mlflow/users/update-password",
        json={"username": USER, "password": new, "current_password": old},
        auth=(USER, old),
        timeout=30,
    )
    if not told.is_success:
        raise Broken(f"MLflow did not take the new password: {told.status_code} {told.text[:200]}")


def facts(state: State) -> list[dict[str, Any]]:
    """What is up where, for people and programs."""
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
            "pid": process.number(state.processes[name]) if state.alive(name) else None,
            "log": str(log_of(name)),
        }
        for name in names
    ]
