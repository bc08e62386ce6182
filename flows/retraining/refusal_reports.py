"""The reports of runs that were refused, kept for as long as rows are set aside because of them.

A run works in a folder of its own, which `retune clean` sweeps; why rows were set aside must be there to read until a
person has decided about them. `.retune/refusals/<run>/` holds it.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

from retune.data import intake_branch
from retune.registry import backend

REPORTS = Path("models/reports")
OF_REFUSAL = ("validate.json", "data_docs")


def keep(run: str) -> Path:
    """Copy the report out of the folder that this run works in. Returns where it is now."""
    kept = _folder() / run
    kept.mkdir(parents=True, exist_ok=True)
    for name in OF_REFUSAL:
        made = REPORTS / name
        if made.is_dir():
            shutil.copytree(made, kept / name, dirs_exist_ok=True)
        elif made.exists():
            shutil.copy2(made, kept / name)
    return kept


def moved(words: str, kept: Path) -> str:
    """The words of a refusal that named the report in the run's own folder, with where it is kept instead."""
    return words.replace(str(REPORTS.absolute()), str(kept))


def sweep(aside: Iterable[intake_branch.Aside]) -> list[Path]:
    """Remove the reports of which no part that is set aside speaks any more. Returns them."""
    told = [each.why for each in aside]
    found = sorted(_folder().iterdir()) if _folder().exists() else []
    over = [folder for folder in found if not any(f"{folder}/" in why for why in told)]
    for folder in over:
        shutil.rmtree(folder)
    return over


def _folder() -> Path:
    return backend.state() / "refusals"
