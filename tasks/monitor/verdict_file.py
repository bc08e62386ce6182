"""The last verdict of the scheduled monitor, in `.retune/monitor/NAME.json`: what was told, and why to train again."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retune.registry import backend
from retune.system import files

if TYPE_CHECKING:
    from tasks.monitor.report import MonitorReport

FOLDER = "monitor"


def path(name: str) -> Path:
    return backend.state() / FOLDER / f"{name}.json"


def read(name: str) -> dict[str, Any]:
    """Empty if the monitor never ran, or its file is damaged: it is written anew each time."""
    try:
        value = json.loads(path(name).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write(report: "MonitorReport", is_told: bool, logged: str | None, review: Sequence[str]) -> None:
    """is_told: whether people know of its alarm; logged: the end of the last window that MLflow has; review: what
    they are told of the sheet.
    """
    path(report.name).parent.mkdir(parents=True, exist_ok=True)
    files.write_text(
        path(report.name), json.dumps({**asdict(report), "told": is_told, "logged": logged, "review": review}, indent=1)
    )


def retrain_reason(name: str, champion: str | None) -> str | None:
    """Why to train again, if the version that lost quality is still the champion (NAME/VERSION)."""
    verdict = read(name)
    reason = verdict.get("retrain")
    return str(reason) if reason and champion == f"{name}/{verdict.get('version')}" else None
