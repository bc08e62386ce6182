"""The passwords of a clone's services: created here, and stored in files that only their owner can read."""

import json
import secrets
from urllib.parse import quote

from flows.project import environment
from flows.services import postgres
from flows.services.state import State, folder, keep, url
from retune.serving import database

USER = "retune"
PASSWORDS = ("database", "prefect", "mlflow", "session")


def make(state: State) -> None:
    """The passwords of this clone, created the first time, and the files that hand them to the servers."""
    passwords = read()
    write(state, passwords | {name: secrets.token_urlsafe(24) for name in PASSWORDS if name not in passwords})


def read() -> dict[str, str]:
    path = folder() / "secrets.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def write(state: State, passwords: dict[str, str]) -> None:
    keep(folder() / "secrets.json", json.dumps(passwords, indent=2))
    if state.database == "postgres":
        keep(folder() / "pgpass", postgres.pgpass(state.ports["postgres"], passwords["database"]))
    lines = [f"{name}={value}\n" for name, value in client_variables(state, passwords).items()]
    keep(folder() / environment.SERVICES_ENV, "".join(lines))


def client_variables(state: State, passwords: dict[str, str]) -> dict[str, str]:
    """The variables that a command, or another program, needs to use the servers."""
    served = {}
    if state.database == "postgres":
        place = postgres.address("+psycopg", state.ports["postgres"], postgres.SERVED)
        served = {database.ADDRESS: f"{place}?passfile={quote(str(folder() / 'pgpass'))}"}
    return {
        "PREFECT_API_URL": f"{url(state, 'prefect')}/api",
        "PREFECT_API_AUTH_STRING": f"{USER}:{passwords['prefect']}",
        "MLFLOW_TRACKING_URI": url(state, "mlflow"),
        "MLFLOW_TRACKING_USERNAME": USER,
        "MLFLOW_TRACKING_PASSWORD": passwords["mlflow"],
        **served,
    }
