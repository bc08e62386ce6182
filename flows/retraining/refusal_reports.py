"""The reports of refused runs, kept for as long as rows are in quarantine because of them.

A run works in a folder of its own, which `retune clean` sweeps; the reason must stay readable until a
person has decided about them. `.retune/refusals/<run>/` holds it.
"""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from retune.data import intake_branch
from retune.registry import backend

REPORTS = Path("models/reports")
OF_REFUSAL = ("validate.json", "data_docs")


def keep(run: str) -> Path:
    """Copy the report out of the folder of this run. Returns the folder of the copies."""
    copies = _folder() / run
    copies.mkdir(parents=True, exist_ok=True)
    for name in OF_REFUSAL:
        report = REPORTS / name
        if report.is_dir():
            shutil.copytree(report, copies / name, dirs_exist_ok=True)
        elif report.exists():
            shutil.copy2(report, copies / name)
    return copies


def move(paths: Sequence[Path], copies: Path) -> tuple[Path, ...]:
    """The paths of a refusal; paths in the reports of this run's folder become those of the copies by `keep`."""
    reports = REPORTS.absolute()
    return tuple(copies / path.relative_to(reports) if path.is_relative_to(reports) else path for path in paths)


def sweep(aside: Iterable[intake_branch.Aside]) -> list[Path]:
    """Remove the reports that no quarantined part names as its reason. Returns them."""
    reasons = [each.why for each in aside]
    folders = sorted(_folder().iterdir()) if _folder().exists() else []
    unused = [folder for folder in folders if not any(f"{folder}/" in why for why in reasons)]
    for folder in unused:
        shutil.rmtree(folder)
    return unused


def _folder() -> Path:
    return backend.state() / "refusals"
