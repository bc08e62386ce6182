import os
from pathlib import Path

import pytest

from flows import home
from tasks.core.errors import WrongUse


@pytest.fixture(autouse=True)
def environment_comes_back():
    before, here = dict(os.environ), Path.cwd()
    yield
    os.chdir(here)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def project(tmp_path):
    for mark in home.MARKS:
        (tmp_path / mark).touch()
    (tmp_path / "some/where/deep").mkdir(parents=True)
    return tmp_path.resolve()


def test_a_command_works_anywhere_in_a_project(project):
    os.chdir(project / "some/where/deep")
    assert home.enter() == project
    assert Path.cwd() == project


def test_the_nearest_project_is_taken(project):
    inner = project / "some/where"
    for mark in home.MARKS:
        (inner / mark).touch()
    os.chdir(inner / "deep")
    assert home.enter() == inner


@pytest.mark.parametrize("missing", home.MARKS)
def test_outside_a_project_it_says_what_is_missing_and_makes_nothing(project, missing):
    (project / missing).unlink()
    os.chdir(project)
    with pytest.raises(WrongUse, match=r"dvc\.yaml and params\.yaml"):
        home.enter()
    assert not (project / ".retune").exists()


def test_state_stays_below_the_project(project, monkeypatch):
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    os.chdir(project)
    home.enter()
    assert (project / ".retune").is_dir()
    assert os.environ["PREFECT_HOME"] == str(project / ".retune/prefect")


def test_every_tool_is_told_to_keep_quiet(project, monkeypatch):
    quiet = {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "GX_ANALYTICS_ENABLED": "false",
        "DVC_NO_ANALYTICS": "1",
    }
    for name in quiet:
        monkeypatch.delenv(name, raising=False)
    os.chdir(project)
    home.enter()
    assert {name: os.environ.get(name) for name in quiet} == quiet


def test_what_the_user_has_set_wins(project, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", "/srv/prefect")
    os.chdir(project)
    home.enter()
    assert os.environ["PREFECT_HOME"] == "/srv/prefect"
