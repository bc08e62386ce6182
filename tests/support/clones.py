"""A fresh clone of this repository in a scratch folder, and its `retune` command."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import pytest

from tests.support.environment import QUIET, ROOT

OUTPUTS = ("dvc.lock", "data/", "models/")  # by a run in this very clone; a fresh one has none of it
CODE = ("flows", "retune", "tasks")
SHIPPED = (
    ".gitignore",
    "data/suppressed.json",
    "data/label_verdicts.json",
    "models/start.json",
)  # below those folders, and in every clone
GIT_IDENTITY = ("-c", "user.name=A. Tester", "-c", "user.email=tester@example.com")  # a fresh machine has no identity
PERSON = {"GIT_AUTHOR_NAME": "A. Tester", "GIT_AUTHOR_EMAIL": "tester@example.com"}
NEED_A_PERSON = ("promote", "rollback", "approve", "reject", "forget")  # all else works where nobody has said who he is


def stop_services(clone):
    """Leave the clone as after `retune down`: MLflow, which kept its registry, does not answer."""
    (services := clone.folder / ".retune/services").mkdir(parents=True)
    (services / "state.json").write_text(json.dumps({"folder": str(services), "database": "postgres", "processes": {}}))
    (services / "env").write_text(
        "PREFECT_API_URL=http://127.0.0.1:4200/api\nMLFLOW_TRACKING_URI=http://127.0.0.1:5000\n"
    )


@dataclass
class Clone:
    """A clone in a scratch folder, and the `retune` command of its own code in a process of its own."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def retune(self, *arguments, input_text=None, timeout=120, cwd=None):
        return self.python(
            "-m",
            "flows.cli",
            *arguments,
            input_text=input_text,
            timeout=timeout,
            cwd=cwd,
            **self.identity_env(arguments),
        )

    def call(self, *arguments, cwd=None):
        """The command in this process, which has imported all that it needs: a process of its own takes seconds.

        Not for what talks to a Prefect server: Prefect reads its settings once a process.
        """
        from flows.cli import main
        from flows.project import process_environment

        environment = {**self.environment(), **self.identity_env(arguments)}
        stdout, stderr, exit_code = io.StringIO(), io.StringIO(), 0
        on_sigterm = signal.getsignal(signal.SIGTERM)
        with (
            chdir(cwd or self.folder),
            redirect_stdout(stdout),
            redirect_stderr(stderr),
            mock.patch.dict(os.environ, environment, clear=True),
            mock.patch.object(sys, "argv", ["retune", *map(str, arguments)]),
            mock.patch.object(process_environment, "run_own_code"),  # which would replace this process
        ):
            try:
                main.main()
            except SystemExit as end:
                exit_code = end.code or 0
            finally:
                signal.signal(signal.SIGTERM, on_sigterm)
                if mlflow := sys.modules.get("mlflow"):
                    mlflow.set_tracking_uri(None)
        return subprocess.CompletedProcess(arguments, exit_code, stdout.getvalue(), stderr.getvalue())

    def python(self, *arguments, input_text=None, timeout=300, cwd=None, **env):
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=cwd or self.folder,
            env={**env, **self.environment()},
            input=input_text,
            stdin=None if input_text is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def start(self, *arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *map(str, arguments)],
            cwd=self.folder,
            env={**self.identity_env(arguments), **self.environment()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def dvc(self, *arguments, timeout=300):
        return self.python("-m", "dvc", *arguments, timeout=timeout)

    def git(self, *arguments):
        process = subprocess.run(["git", *GIT_IDENTITY, *arguments], cwd=self.folder, capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
        return process.stdout

    def identity_env(self, arguments):
        return PERSON if arguments and arguments[0] in NEED_A_PERSON else {}

    def environment(self):
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PREFECT_", "MLFLOW_", "PYTHONPATH", "DVC_"))
        }
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        return {**inherited, **QUIET, "PATH": path, "PYTHONPATH": str(self.folder), **self.env}


def clone_to(folder, **env):
    """A fresh clone of the working tree, edits that are not committed yet included, with one commit."""
    paths = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, paths.stdout.split("\0")):
        is_output = name.startswith(OUTPUTS) and not name.endswith(SHIPPED)
        if (ROOT / name).is_file() and not is_output:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for compiled in (path for top in CODE for path in (ROOT / top).rglob("__pycache__")):
        if (folder / compiled.relative_to(ROOT)).parent.is_dir():  # seconds of compiling for each clone otherwise
            shutil.copytree(compiled, folder / compiled.relative_to(ROOT))
    clone = Clone(folder, env)
    commit(clone)
    return clone


def commit(clone):
    clone.git("init", "-q", "-b", "main")
    clone.git("add", "-A")
    clone.git("commit", "-q", "-m", "start")


@pytest.fixture(scope="session")
def new_clone():
    """Makes a fresh clone in a folder; further arguments are its environment."""
    return clone_to


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A fresh clone, for tests that leave it as they found it."""
    return clone_to(tmp_path_factory.mktemp("clone"))


@pytest.fixture
def own_clone(tmp_path):
    """A fresh clone for one test."""
    return clone_to(tmp_path)
