"""The servers of a small team, real ones, in a scratch clone."""

import json
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from flows.services import postgres

STAND_IN = '''\
"""Stands in for the retraining: says where it ran, and lasts as long as a file says."""
import json, os, pathlib, sys, time
from prefect import flow
from prefect.runtime import flow_run


@flow(name="retrain-part")
def part(seconds):
    time.sleep(seconds)


@flow(name="retrain")
def retrain(because: str | None = None, dry_run: bool = False):
    state = pathlib.Path(".retune")
    facts = {"cwd": os.getcwd(), "python": sys.executable, "because": because, "name": flow_run.name}
    facts["mlflow"] = os.environ.get("MLFLOW_TRACKING_URI")
    (state / "ran").mkdir(exist_ok=True)
    (state / "ran" / str(time.time())).write_text(json.dumps(facts))
    asked = state / "asked"
    what = asked.read_text() if asked.exists() else ""
    if what == "fail":
        raise RuntimeError("the desk is on fire")
    if what:
        part(float(what))
'''


class Team:
    """A clone whose services are up, and what tests ask of it."""

    def __init__(self, clone):
        self.clone, self.retune, self.folder = clone, clone.retune, clone.folder / ".retune/services"

    def state(self):
        return json.loads((self.folder / "state.json").read_text("utf-8"))

    def pid(self, name):
        return int(self.state()["processes"][name].split()[1].partition("@")[0])

    def variables(self):
        return dict(line.split("=", 1) for line in (self.folder / "env").read_text("utf-8").splitlines())

    def secrets(self):
        return json.loads((self.folder / "secrets.json").read_text("utf-8"))

    def set_behaviour(self, what=""):
        """What the flow that stands in for the retraining does."""
        (self.clone.folder / ".retune/asked").write_text(str(what), "utf-8")

    def ran(self):
        files = sorted((self.clone.folder / ".retune/ran").glob("*"))
        return [json.loads(each.read_text("utf-8")) for each in files]

    def down(self):
        return self.retune("down", timeout=180)


@pytest.fixture(scope="session")
def passable_folder():
    """Makes folders that other accounts may enter, as PostgreSQL's must where the tests run as root."""
    folders = []

    def make():
        folder = Path(tempfile.mkdtemp(prefix="retune-"))
        folder.chmod(0o755)
        folders.append(folder)
        return folder

    yield make
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def make_team(new_clone, passable_folder, tmp_path_factory):
    """Makes a clone and brings its services up, on free ports of its own; all of them go down at the end."""
    teams = []

    def make(*words, stand_in=True, before=lambda clone: None):
        folder = passable_folder()
        if "sqlite" not in words and isinstance(why := postgres.installed(folder), str):
            pytest.skip(why)
        clone = new_clone(folder)
        if stand_in:
            (folder / "flows/retrain.py").write_text(STAND_IN, "utf-8")
        before(clone)
        team = Team(clone)
        teams.append(team)
        ports = [word for name in ("prefect", "mlflow", "postgres") for word in (f"--{name}-port", free())]
        done = clone.retune("up", *ports, *words, timeout=400)
        assert done.returncode == 0, done.stdout + done.stderr
        return team

    yield make
    for team in teams:
        team.down()


def free():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def until():
    def wait(condition, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if result := condition():
                return result
            time.sleep(0.5)
        raise AssertionError(f"it did not come about within {seconds} s")

    return wait
