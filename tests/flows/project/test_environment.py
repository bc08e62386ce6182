import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.execution import dvc
from flows.project import environment
from retune.errors import Broken, WrongUse
from retune.serving import database
from retune.system import process_identity


@pytest.fixture(autouse=True)
def environment_comes_back():
    before, folder_before = dict(os.environ), Path.cwd()
    yield
    os.chdir(folder_before)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def scratch_project(tmp_path):
    for mark in environment.MARKS:
        (tmp_path / mark).touch()
    (tmp_path / "some/where/deep").mkdir(parents=True)
    return tmp_path.resolve()


def test_a_command_works_anywhere_in_a_project(scratch_project):
    os.chdir(scratch_project / "some/where/deep")
    assert environment.activate_project() == scratch_project
    assert Path.cwd() == scratch_project


def test_the_nearest_project_is_taken(scratch_project):
    inner = scratch_project / "some/where"
    for mark in environment.MARKS:
        (inner / mark).touch()
    os.chdir(inner / "deep")
    assert environment.activate_project() == inner


@pytest.mark.parametrize("missing", environment.MARKS)
def test_outside_a_project_it_says_what_is_missing_and_makes_nothing(scratch_project, missing):
    (scratch_project / missing).unlink()
    os.chdir(scratch_project)
    with pytest.raises(WrongUse, match=r"dvc\.yaml and params\.yaml"):
        environment.activate_project()
    assert not (scratch_project / ".retune").exists()


def test_state_stays_below_the_project(scratch_project, monkeypatch):
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    os.chdir(scratch_project)
    environment.activate_project()
    assert (scratch_project / ".retune").is_dir()
    assert os.environ["PREFECT_HOME"] == str(scratch_project / ".retune/prefect")


def test_every_tool_is_told_to_keep_quiet(scratch_project, monkeypatch):
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
    os.chdir(scratch_project)
    environment.activate_project()
    assert {name: os.environ.get(name) for name in quiet} == quiet


def test_what_the_user_has_set_wins(scratch_project, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", "/srv/prefect")
    os.chdir(scratch_project)
    environment.activate_project()
    assert os.environ["PREFECT_HOME"] == "/srv/prefect"


@pytest.mark.parametrize(
    ("user_settings", "spins"),
    [
        ({}, environment.SPINS),
        ({"OMP_NUM_THREADS": "1"}, environment.SPINS),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, None),
    ],
)
def test_threads_of_a_stage_wait_briefly_for_each_other_unless_the_user_has_said_how(
    scratch_project, monkeypatch, user_settings, spins
):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in user_settings.items():
        monkeypatch.setenv(name, value)
    os.chdir(scratch_project)
    environment.activate_project()
    variables = dvc.environment()
    assert variables.get("GOMP_SPINCOUNT") == spins
    assert user_settings.items() <= variables.items()


@pytest.mark.skipif(sys.platform != "linux", reason="torch has another OpenMP there")
def test_a_command_that_computes_itself_enters_early_enough_for_torch_to_read_it(scratch_project):
    program = "from flows.project import environment; environment.activate_project(); import torch"
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    env |= {"OMP_DISPLAY_ENV": "verbose", "PYTHONPATH": str(Path(environment.__file__).resolve().parents[2])}
    done = subprocess.run([sys.executable, "-c", program], cwd=scratch_project, env=env, capture_output=True, text=True)
    assert f"GOMP_SPINCOUNT = '{environment.SPINS}'" in done.stderr


@pytest.fixture
def write_services_state(scratch_project, monkeypatch):
    """A project whose services are up, as far as files tell; `served(...)` writes which processes they are."""
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    folder = scratch_project / ".retune/services"
    folder.mkdir(parents=True)
    lines = ["PREFECT_API_URL=http://p/api", "MLFLOW_TRACKING_URI=http://m", "MLFLOW_TRACKING_PASSWORD=a=b"]
    (folder / "env").write_text("\n".join(lines) + "\n", "utf-8")
    os.chdir(scratch_project)

    def write(database="postgres", where=folder, **processes):
        state = {"folder": str(where), "database": database, "processes": processes}
        (folder / "state.json").write_text(json.dumps(state), "utf-8")

    return write


def test_services_that_are_up_are_used(write_services_state):
    write_services_state(prefect=process_identity.name(), mlflow=process_identity.name())
    environment.activate_project()
    assert os.environ["PREFECT_API_URL"] == "http://p/api" and os.environ["MLFLOW_TRACKING_URI"] == "http://m"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "a=b"


def test_a_server_that_the_user_names_wins_over_one_that_is_up(write_services_state, monkeypatch):
    write_services_state(prefect=process_identity.name(), mlflow=process_identity.name())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://other")
    environment.activate_project()
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://other" and "MLFLOW_TRACKING_PASSWORD" not in os.environ
    assert os.environ["PREFECT_API_URL"] == "http://p/api"


def test_a_registry_that_is_down_is_not_replaced_by_a_file(write_services_state):
    write_services_state(prefect=process_identity.name())
    with pytest.raises(Broken, match="retune up"):
        environment.activate_project()
    environment.activate_project(services=False)
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_what_is_served_goes_into_the_database_of_the_services_and_waits_for_it_where_it_is_down(
    write_services_state, scratch_project, monkeypatch
):
    monkeypatch.setenv(environment.SERVED, "")  # so that it is as before in the end
    monkeypatch.delenv(environment.SERVED)
    write_services_state("sqlite")
    environment.activate_project()
    assert environment.SERVED == database.ADDRESS not in os.environ
    variables = scratch_project / ".retune/services" / environment.SERVICES_ENV
    variables.write_text(f"{variables.read_text()}{environment.SERVED}=postgresql://p/retune?passfile=x\n")
    environment.activate_project(services=False)
    assert os.environ[database.ADDRESS] == "postgresql://p/retune?passfile=x"


def test_a_registry_in_a_file_is_the_same_without_its_server(write_services_state):
    write_services_state(database="sqlite")
    environment.activate_project()
    assert "MLFLOW_TRACKING_URI" not in os.environ and "PREFECT_API_URL" not in os.environ


def test_a_copy_of_a_clone_does_not_use_the_services_of_the_first(write_services_state, tmp_path):
    write_services_state(
        "sqlite", tmp_path / "elsewhere", prefect=process_identity.name(), mlflow=process_identity.name()
    )
    environment.activate_project()
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_a_project_in_a_larger_repository_is_refused_before_any_state_is_made(scratch_project):
    subprocess.run(["git", "init", "-q"], cwd=scratch_project, check=True)
    inner = scratch_project / "some/where"
    for mark in environment.MARKS:
        (inner / mark).touch()
    os.chdir(inner / "deep")
    with pytest.raises(WrongUse, match="is the subfolder some/where of a git repository"):
        environment.activate_project()
    assert not list(scratch_project.rglob(".retune"))


def test_where_another_account_owns_the_folder_of_dvc_it_has_one_of_its_own(scratch_project, tmp_path):
    (tmp_path / "taken").touch()
    os.environ[environment.SITE_SWITCH] = str(tmp_path / "taken/dvc")
    os.chdir(scratch_project)
    environment.activate_project()
    assert os.environ[environment.SITE_SWITCH] == str(scratch_project / ".retune/dvc-site")


def test_a_folder_of_dvc_that_can_be_made_stays(scratch_project, tmp_path):
    os.environ[environment.SITE_SWITCH] = str(tmp_path / "not/yet")
    os.chdir(scratch_project)
    environment.activate_project()
    assert os.environ[environment.SITE_SWITCH] == str(tmp_path / "not/yet")
