"""docs/reference/environment.md: every environment variable that the code reads or sets.

Where a variable stands in the code is found by reading the code, so a new one without a meaning below stops the page.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from docs.generate.markdown import code, head, table
from retune.config import params, reference

ROOT = Path(__file__).resolve().parents[2]
LOOKS_LIKE_ONE = re.compile(r"[A-Z][A-Z0-9]+_[A-Z0-9_]*[A-Z0-9]")

YOURS = {
    "RETUNE_NOTIFY_URLS": "Addresses of Apprise that get notifications, separated by blanks. Secret.",
    "RETUNE_NOTIFY_BLOCKS": "Notification blocks of the Prefect server that get notifications, separated by blanks: "
    "`slack-webhook/team`.",
    "RETUNE_SIGNING_KEY": "Path of the private key that signs each new version. Not set: versions are not signed.",
    "RETUNE_SIGNING_KEY_PASSWORD": "Password of that key, if it has one. Secret.",
    "RETUNE_PUBLIC_KEY": "Path of the public key that a signature must fit before a version is loaded or promoted.",
    "RETUNE_POOL": "Name of the Prefect work pool and of its deployments; `retune` if not set. One a project on a "
    "shared server.",
    "RETUNE_RENDEZVOUS": "HOST:PORT of the first host, where the hosts of a training meet.",
    "RETUNE_NODE_RANK": "Number of this host in a training on several hosts: 0 on the first.",
    "RETUNE_RAY_ADDRESS": "HOST:PORT of a Ray cluster that curation uses. Not set: it runs on this machine.",
    "RETUNE_SERVING_DATABASE": "SQLAlchemy address of the database of what was served. Not set: `.retune/serving.db`.",
    "RETUNE_FAIL_AT": "Point at which a process kills itself; tests set it. `retune/system/failpoints.py` lists them.",
}
OF_TOOLS = {
    "MLFLOW_TRACKING_URI": "Registry to use. Not set: the clone's own services, else `.retune/mlflow.db`.",
    "MLFLOW_TRACKING_USERNAME": "User of the MLflow server.",
    "MLFLOW_TRACKING_PASSWORD": "Password of the MLflow server. Secret.",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "Attempts to reach the MLflow server. Not set: a command gives up within "
    "seconds, a scheduled run waits for minutes.",
    "PREFECT_API_URL": "Prefect server to use. Not set: the clone's own services, else a temporary server.",
    "PREFECT_API_AUTH_STRING": "USER:PASSWORD of the Prefect server. Secret.",
    "PREFECT_API_KEY": "Key of the Prefect server. Secret.",
    "PREFECT_HOME": "Folder of Prefect's state; `.retune/prefect` if not set.",
    "GIT_AUTHOR_NAME": "Name of the person who decides, where git has no `user.name`.",
    "GIT_AUTHOR_EMAIL": "Mail address of the person who decides, where git has no `user.email`.",
    "GIT_COMMITTER_NAME": "The same, and it wins over the author.",
    "GIT_COMMITTER_EMAIL": "The same, and it wins over the author.",
    "PATH": "Where programs are looked for. Stages find Retune's own interpreter first.",
    "NO_PROXY": "Hosts that are asked directly. Where a proxy is set, the names of this machine are added.",
    "no_proxy": "The same.",
    "HOME": "The account's folder; `.retune/home` for an account that has none.",
    "USER": "The account's name; `uid-NUMBER` for an account that has none.",
    "PYTHONPATH": "Where Python looks first. A `retune` of another clone puts the folder that it is called in there.",
    "MLFLOW_RUN_ID": "Ignored: a run is its own, whatever run a parent job has.",
    "MLFLOW_REGISTRY_URI": "Ignored: versions stand in the registry that `MLFLOW_TRACKING_URI` names.",
    "GOMP_SPINCOUNT": "Spins of a waiting OpenMP thread; 1000 if neither this nor `OMP_WAIT_POLICY` is set.",
    "OMP_WAIT_POLICY": "How OpenMP threads wait. If it is set, `GOMP_SPINCOUNT` stays as it is.",
    "OMP_NUM_THREADS": "Threads that compute. Not set: processes that train together share the cores.",
}
DEFAULTS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "Prefect sends no usage data.",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "Time for Prefect's temporary server to start.",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "A stage logs without a warning outside a flow.",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "Seconds between two signs of life of a run.",
    "PREFECT_WORKER_QUERY_SECONDS": "Seconds between two looks of the worker for runs.",
    "PREFECT_WORKER_HEARTBEAT_SECONDS": "Seconds between two signs of life of the worker.",
    "DO_NOT_TRACK": "No tool sends usage data.",
    "MLFLOW_DISABLE_TELEMETRY": "MLflow sends no usage data.",
    "HF_HUB_DISABLE_TELEMETRY": "Hugging Face libraries send no usage data.",
    "GX_ANALYTICS_ENABLED": "Great Expectations sends no usage data.",
    "RAY_USAGE_STATS_ENABLED": "Ray sends no usage data.",
    "RAY_ENABLE_AUTO_CONNECT": "Ray starts no cluster that nobody asked for.",
    "DVC_NO_ANALYTICS": "DVC sends no usage data.",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "MLflow loads no pickle.",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "MLflow draws no progress bars.",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "MLflow keeps standard output clean for `--json`.",
    "GIT_PYTHON_REFRESH": "MLflow imports where git is missing.",
    "HF_METRICS_CACHE": "Folder in `.retune/cache` instead of the home folder.",
    "MPLCONFIGDIR": "Folder in `.retune/cache` instead of the home folder.",
    "CUBLAS_WORKSPACE_CONFIG": "cuBLAS sums in the same order each time.",
}
INTERNAL = {
    "RETUNE_CLONE": "The clone whose retrainings a worker runs.",
    "RETUNE_PYTHON": "The interpreter that a worker runs them with.",
    "RETUNE_RUN_LOG": "The file that a run on a worker logs to.",
    "RETUNE_FLOW": "Marks every process of a flow, so that none outlives it.",
    "RETUNE_SERVICE": "Marks every process of a service, so that `retune down` ends them all.",
    "PREFECT__FLOW_RUN_ID": "The run that a worker starts; from Prefect.",
    "TORCHELASTIC_RUN_ID": "Tells a training process that it is one of several; from torch.",
    "LOCAL_RANK": "Number of the GPU of a training process; from torch.",
    "GIT_INDEX_FILE": "An index of its own, so that a commit leaves yours alone.",
    "GIT_COMMITTER_DATE": "Time of a history entry.",
    "CUDA_VISIBLE_DEVICES": "Empty while `retune reproduce` rebuilds a version that was made on a CPU.",
    "MKL_NUM_THREADS": "Threads of the version that `retune reproduce` rebuilds.",
    "DVC_SITE_CACHE_DIR": "A folder of its own for what `retune reproduce` rebuilds.",
    "PIP_DISABLE_PIP_VERSION_CHECK": "Keeps pip from a look at the index.",
    "PREFECT_SERVER_API_AUTH_STRING": "Login that the Prefect server of `retune up` asks for.",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": "Its database.",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "Where it keeps who holds a place.",
    "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "Seconds until a run that found no place tries again.",
    "MLFLOW_BACKEND_STORE_URI": "Database of the MLflow server of `retune up`.",
    "MLFLOW_ARTIFACTS_DESTINATION": "Where it keeps files.",
    "MLFLOW_AUTH_CONFIG_PATH": "How it asks for a login.",
    "MLFLOW_AUTH_ADMIN_USERNAME": "Its first user.",
    "MLFLOW_AUTH_ADMIN_PASSWORD": "The password of its first user.",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "Signs its sessions.",
    "MLFLOW_SERVER_ALLOWED_HOSTS": "Names by which it may be called.",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "Off: it runs no jobs.",
}
GROUPS = {
    "Variables of Retune": (YOURS, "Set these where a command, a worker or a cron job starts."),
    "Variables of other tools that Retune heeds": (OF_TOOLS, "The standard variables win over what the clone has."),
    "Defaults that Retune sets": (
        DEFAULTS,
        "Retune sets these for the tools that it calls. Yours win if you set them.",
    ),
    "Set by Retune for its own processes": (INTERNAL, "Do not set these."),
}
NO_VARIABLES = {"END_TIME_DESC", "EXPECTED_START_TIME_DESC", "GIT_COMMITTER_IDENT", "RESOURCE_ALREADY_EXISTS"}
BY_PATTERN = {f"GIT_{who}_{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def page() -> str:
    answer = "No variable is needed. These change where Retune looks, whom it notifies and how it signs."
    lines = head("Environment variables", answer, "`docs/generate/environment.py` and the code that it scans")
    modules = variables()
    for title, (meanings, note) in GROUPS.items():
        rows = [
            (code(name), meaning, ", ".join(map(code, modules.pop(name, [])))) for name, meaning in meanings.items()
        ]
        if stale := [name for name, _, places in rows if not places and name.strip("`") not in BY_PATTERN]:
            raise ValueError(f"no code reads {', '.join(stale)}: remove it from {__file__}")
        lines += [f"## {title}", "", note, "", *table(("variable", "meaning", "in the code"), rows)]
    if modules:
        raise ValueError(f"no meaning for {modules}: describe each in {__file__}")
    lines += ["## Variables that params.yaml names", "", "Your own names, so that no secret stands in the file.", ""]
    named = {each.path: each.description for task in params.TASKS for each in reference.parameters(task)}
    secrets = [(code(path), meaning) for path, meaning in named.items() if path.endswith("_env")]
    return "\n".join(lines + table(("parameter", "meaning"), secrets))


def variables() -> dict[str, list[str]]:
    """Every variable that the code names, and the modules that do."""
    places: dict[str, list[str]] = {}
    for path in sorted(file for top in ("retune", "tasks", "flows") for file in (ROOT / top).rglob("*.py")):
        text = path.read_text("utf-8")
        if "environ" in text:
            for name in sorted(set(_names(ast.parse(text))) - NO_VARIABLES):
                places.setdefault(name, []).append(str(path.relative_to(ROOT)))
    return places


def _names(tree: ast.Module) -> Iterator[str]:
    """What is read by its name, and each string that looks like a variable's name."""
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=ast.Attribute(attr="environ"), slice=ast.Constant(value=str(name))):
                yield name
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(attr="environ")), args=[ast.Constant(value=str(name)), *_]
            ):
                yield name
            case ast.Constant(value=str(name)) if LOOKS_LIKE_ONE.fullmatch(name):
                yield name
