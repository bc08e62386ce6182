"""Which stages would run, and why: what changed, from what to what.

DVC says what has changed; dvc.lock and the files as they are now say from what to what.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flows.execution import dvc
from retune.config import params
from retune.errors import Refused
from retune.preflight import audit_settings
from retune.system import dvc_files, dvc_pipeline
from retune.system.dvc_files import POINTER, RAW
from retune.system.files import file_md5

VALIDATION = Path("models/reports/validate.json")


@dataclass(frozen=True)
class Planned:
    name: str
    run: bool
    why: list[str]


def plan() -> list[Planned]:
    """Every stage of dvc.yaml in order. A stage after one that runs is planned too: DVC skips it if its
    inputs come out unchanged. Raises Refused if data/raw was edited: no pointer names what would be trained on."""
    stages, locked, changed = dvc_pipeline.pipeline(), dvc_pipeline.lock(), dvc.status()
    if str(POINTER) in changed:
        raise _refuse_raw(changed[str(POINTER)])
    current = yaml.safe_load(Path("params.yaml").read_text("utf-8"))
    maker = {path: name for name, entry in stages.items() for path in dvc_pipeline.outputs(entry)}
    planned: dict[str, Planned] = {}
    for name, entry in stages.items():
        why = ["it has not run yet"] if name not in locked else []
        if name in locked and name in changed:
            why = _why(locked[name], entry, changed[name], current)
        if name in locked and name == "validate":
            why += audit_settings.changes(current, VALIDATION)
        sources = dict.fromkeys(maker[dep] for dep in entry["deps"] if dep in maker)
        why += [f"{source} runs before it" for source in sources if planned[source].run]
        planned[name] = Planned(name, bool(why), why)
    return list(planned.values())


def _refuse_raw(changes: list[Any]) -> Refused:
    if {"changed outs": {str(RAW): "not in cache"}} in changes:
        return Refused(
            f"the DVC cache lacks the bytes that {POINTER} names",
            remedy=f"if the cache was moved, move `.dvc/cache/files` too; else `dvc pull {POINTER}` fetches them, or "
            f"`dvc add {RAW}` takes them from the folder",
        )
    return Refused(
        f"{RAW} has other bytes than {POINTER} names: a file was edited",
        remedy=f"`dvc checkout {POINTER}` brings back what git says, `dvc add {RAW}` keeps the folder as it is",
    )


def _why(locked: dict[str, Any], entry: dict[str, Any], changes: list[Any], current: dict[str, Any]) -> list[str]:
    then = {item["path"]: item["md5"] for kind in ("deps", "outs") for item in locked.get(kind, [])}
    why: list[str] = []
    for change in changes:
        if isinstance(change, str):  # "changed command", or "always changed"
            why.append(f"command: {locked['cmd']} → {entry['cmd']}" if "command" in change else change)
            continue
        for path, what in next(iter(change.values())).items():
            if path == "params.yaml":
                continue
            why.append(_file(path, what, then.get(path)))
    return _params(locked, entry, current) + why


def _params(locked: dict[str, Any], entry: dict[str, Any], current: dict[str, Any]) -> list[str]:
    before = params.flat(locked.get("params", {}).get("params.yaml", {}))
    after = params.flat({name: params.at(current, name) for name in entry.get("params", [])})
    names = sorted(before | after)
    return [
        f"{name}: {before.get(name, 'not set')} → {after.get(name, 'not set')}"
        for name in names
        if not _same(before.get(name, "not set"), after.get(name, "not set"))
    ]


def _same(before: Any, after: Any) -> bool:
    """DVC writes 2e-05 into its lock, which YAML 1.1 reads as a word."""
    if isinstance(before, str) and isinstance(after, float):
        with suppress(ValueError):
            return float(before) == after
    return bool(before == after)


def _file(path: str, what: str, before: str | None) -> str:
    now = _md5(Path(path))
    if what == "deleted" or not Path(path).exists():
        return f"{path}: {_short(before)} → missing"
    if before is None:
        return f"{path}: new dependency"
    return f"{path}: {_short(before)} → {_short(now)}"


def _short(md5: str | None) -> str:
    return md5[:8] if md5 else "changed"


def _md5(path: Path) -> str | None:
    """The md5 that DVC has recorded; the .dvc file of a tracked folder holds it."""
    if path.is_file():
        return file_md5(path)
    pointer = path.with_name(f"{path.name}.dvc")
    return dvc_files.pointer_md5(pointer) if pointer.exists() else None
