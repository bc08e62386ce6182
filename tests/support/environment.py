"""The environment of processes that tests start."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_OFFLINE": "1",
}
READING = {"delimiter": None, "encoding": None, "sheet": None, "header": True}  # of a source of files in params.yaml
