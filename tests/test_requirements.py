"""requirements.lock pins a set that works together: what is installed is what is locked, and Prefect starts on it."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.support.environment import ROOT


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins():
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    return {
        canonical(name): version.strip()
        for name, _, version in (line.partition("==") for line in lines if line.strip() and not line.startswith("#"))
    }


def direct():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return [Requirement(text) for text in (*project["dependencies"], *project["optional-dependencies"]["dev"])]


def test_every_line_of_the_lock_pins_one_version():
    assert len(pins()) > 50
    assert {name: version for name, version in pins().items() if not re.fullmatch(r"\d[\w.!+-]*", version)} == {}


@pytest.mark.parametrize("requirement", direct(), ids=lambda requirement: requirement.name)
def test_every_direct_dependency_is_locked_to_a_version_that_it_allows(requirement):
    assert canonical(requirement.name) in pins()
    assert SpecifierSet(str(requirement.specifier)).contains(pins()[canonical(requirement.name)])


def test_what_is_installed_is_what_is_locked():
    installed = {canonical(d.name): d.version.partition("+")[0] for d in importlib.metadata.distributions()}
    locked = pins()
    wrong = {
        name: (installed[name], locked[name]) for name in locked.keys() & installed if installed[name] != locked[name]
    }
    assert wrong == {}
    assert len(locked.keys() & installed.keys()) > 50


def test_whatever_our_dependencies_need_is_locked_too():
    """Else a fresh installation would get another version one day."""
    locked, visited = pins(), set()
    waiting = [(canonical(requirement.name), extra) for requirement in direct() for extra in ("", *requirement.extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in visited:
            continue
        visited.add((name, extra))
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for need in map(Requirement, needs):
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                waiting += [(canonical(need.name), more) for more in ("", *need.extras)]
    installed = {canonical(d.name) for d in importlib.metadata.distributions()}
    assert (
        sorted(({name for name, _ in visited} & installed) - locked.keys() - {"setuptools"}) == []
    )  # pyproject pins it, to build with


FLOW = """
from prefect import flow, task

@task
def one(): return 1

@flow
def two(): return one() + one()

print("came out as", two())
"""


@pytest.mark.slow
def test_a_flow_runs_against_a_real_prefect_server(prefect_url, clone, tmp_path):
    script = tmp_path / "trivial.py"
    script.write_text(FLOW, "utf-8")
    env = {**clone.environment(), "PREFECT_API_URL": prefect_url, "PREFECT_HOME": str(tmp_path / "prefect")}
    done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "came out as 2" in done.stdout
    assert "Completed" in done.stderr
