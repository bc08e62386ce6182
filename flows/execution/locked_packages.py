"""Compares requirements.lock with the installed packages: the only place that reads either.

Names are canonical (PEP 503). A build's name after the plus (`2.13.0+cpu`) is not another version.
"""

import importlib.metadata
import tomllib
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

LOCK = Path("requirements.lock")
MISSING = "missing"


def read_lock(path: Path) -> dict[NormalizedName, str]:
    """name -> version of each line that pins one."""
    lines = (line.partition("#")[0].strip() for line in path.read_text("utf-8").splitlines())
    requirements = [Requirement(line) for line in lines if line]
    pins = {canonicalize_name(each.name): [pin.version for pin in each.specifier] for each in requirements}
    return {name: versions[0] for name, versions in pins.items() if versions}


def installed_version(name: str) -> str | None:
    """The version without the name of its build; None if the package is not installed."""
    try:
        return Version(importlib.metadata.version(name)).public
    except importlib.metadata.PackageNotFoundError:
        return None


def unlike_lock(lock: Path = LOCK) -> dict[NormalizedName, tuple[str, str]]:
    """name -> (installed, locked) where they differ. Packages that are not installed do not count."""
    pairs = {name: (installed_version(name), version) for name, version in read_lock(lock).items()}
    return {
        name: (installed, locked) for name, (installed, locked) in pairs.items() if installed and installed != locked
    }


def unlike_project(folder: Path) -> dict[NormalizedName, tuple[str, str]]:
    """name -> (installed, locked) of the packages that a project needs and that are installed in another version.

    folder: with its pyproject.toml and requirements.lock. What only development needs may differ.
    """
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    locked, differing = read_lock(folder / LOCK), {}
    direct = {canonicalize_name(Requirement(line).name) for line in project.get("dependencies", [])}
    queue, visited = list(direct), set()
    while queue:
        if (name := queue.pop()) in visited:
            continue
        visited.add(name)
        version = installed_version(name) or MISSING
        if version != MISSING:
            queue += _needs(name)
        # A dependency of a dependency that is not installed belongs to another platform.
        if version != locked.get(name, version) and (version != MISSING or name in direct):
            differing[name] = (version, locked[name])
    return differing


def _needs(name: str) -> list[NormalizedName]:
    """The packages that an installed one needs on this machine, its extras left out."""
    needs = []
    for line in importlib.metadata.requires(name) or []:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:  # pip installs old packages with such a requirement too
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            needs.append(canonicalize_name(requirement.name))
    return needs
