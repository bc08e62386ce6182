"""The stored choices of a clone's services (database, host and ports), and their processes."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from flows.project import environment
from retune.registry import backend
from retune.system import process_identity
from retune.system.files import write_private_text

ORDER = ("postgres", "prefect", "mlflow", "worker")


@dataclass
class State:
    """The choices of the first `retune up`, and the processes of the services."""

    folder: str = ""  # of the clone: a copy of it must not take these processes for its own
    database: str = ""
    host: str = "127.0.0.1"
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls) -> "State":
        path = folder() / environment.SERVICES_STATE
        state = cls(**json.loads(path.read_text("utf-8"))) if path.exists() else cls()
        return state if state.folder == str(folder()) else cls(str(folder()), state.database)

    def write(self) -> None:
        keep(folder() / environment.SERVICES_STATE, json.dumps(self.__dict__, indent=2))

    def alive(self, name: str) -> bool:
        return process_identity.alive(self.processes.get(name, ""))


def folder() -> Path:
    return backend.state() / environment.SERVICES


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
    """Write a file atomically that only its owner can read."""
    write_private_text(path, text)
