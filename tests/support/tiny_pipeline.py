"""A scratch DVC repository with two stages that take no time."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.environment import QUIET
from tests.support.git_repo import init_repository

TWO_STAGES = """\
stages:
  cook:
    cmd: python cook.py data/raw models/meal.txt
    deps: [data/raw, cook.py]
    params: [cook]
    outs: [models/meal.txt]
  serve:
    cmd: python serve.py models/meal.txt models/reports/serve.json
    deps: [models/meal.txt, serve.py]
    params: [serve]
    metrics:
      - models/reports/serve.json: {cache: false}
"""
COOK = """\
import pathlib, sys
print("peeled", flush=True)
print("progress step=1 of=2 heat=0.5", flush=True)
print("progress step=2 of=2 heat=0.25 salt=1e-05", flush=True)
print("cooked", file=sys.stderr, flush=True)
raw, meal = map(pathlib.Path, sys.argv[1:])
meal.write_text("".join(sorted(file.read_text() for file in raw.glob("*.txt"))).upper())
"""
SERVE = """\
import json, pathlib, sys
meal, report = map(pathlib.Path, sys.argv[1:])
report.parent.mkdir(parents=True, exist_ok=True)
report.write_text(json.dumps({"letters": len(meal.read_text())}))
"""


@dataclass(frozen=True)
class TinyPipeline:
    """A scratch DVC repository with two small stages in a row, for tests of the bridge and the plan."""

    folder: Path

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    def run(self, *command):
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        process = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, env={**os.environ, **QUIET, "PATH": path}
        )
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout

    def git(self, *arguments):
        return self.run("git", *arguments)

    def dvc(self, *arguments):
        return self.run(sys.executable, "-m", "dvc", *arguments)

    def file_contents(self):
        """name -> bytes of every file that is no tool's own."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and not {".git", ".dvc"} & set(path.relative_to(self.folder).parts)
        }


@pytest.fixture(scope="session")
def tiny_pipeline_template(fill_once):
    return TinyPipeline(fill_once("tiny", write_and_run))


def write_and_run(folder):
    pipeline = TinyPipeline(folder)
    pipeline.write(
        "params.yaml", "# two knobs and a list\ncook:\n  minutes: 3\n  salt: [a, b]\nserve:\n  plate: blue\n"
    )
    pipeline.write("cook.py", COOK)
    pipeline.write("serve.py", SERVE)
    pipeline.write("dvc.yaml", TWO_STAGES)
    pipeline.write("data/raw/one.txt", "potato\n")
    pipeline.write("data/.gitignore", "/raw\n")
    pipeline.write("models/.gitignore", "/meal.txt\n")
    init_repository(folder)
    pipeline.dvc("init", "-q")
    pipeline.git("add", "-A")
    pipeline.git("commit", "-q", "-m", "start")
    pipeline.dvc("add", "-q", "data/raw")
    pipeline.dvc("repro", "-q")


@pytest.fixture
def tiny_pipeline(tiny_pipeline_template, tmp_path, monkeypatch):
    """A copy of the tiny pipeline whose stages have run once, entered. dvc.lock and raw.dvc are not in git yet."""
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_pipeline_template.folder, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return TinyPipeline(folder)
