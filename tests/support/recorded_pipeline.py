"""A checkout with a pipeline of four stages that take milliseconds, and the record of a run of it."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from flows.execution import dvc
from retune.system import dvc_store
from tests.support.git_repo import init_repository

STAGES = """\
stages:
  curate:
    cmd: python -m tasks.step curate
    deps: [data/raw, tasks/step.py]
    params: [train]
    outs: [data/curated/rows.parquet]
  split:
    cmd: python -m tasks.step split
    deps: [data/curated/rows.parquet, tasks/step.py]
    outs: [data/splits/train.parquet, data/splits/val.parquet, data/splits/test.parquet]
  train:
    cmd: python -m tasks.step train
    deps: [data/splits/train.parquet, tasks/step.py]
    params: [train]
    outs: [models/candidate]
  evaluate:
    cmd: python -m tasks.step evaluate
    deps: [models/candidate, tasks/step.py]
    plots: [models/reports/plot.csv]
    metrics:
      - models/reports/evaluate.json: {cache: false}
"""
STEP = """\
import json, os, pathlib, sys
def put(name, text):
    path = pathlib.Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
def get(name): return pathlib.Path(name).read_text()
name = sys.argv[1]
print(name, "with", pathlib.Path(__file__).resolve(), "threads", os.environ.get("OMP_NUM_THREADS"), flush=True)
if name == "curate":
    put("data/curated/rows.parquet", "".join(get(path) for path in sorted(pathlib.Path("data/raw").iterdir())))
if name == "split":
    for side in ("train", "val", "test"):
        put(f"data/splits/{side}.parquet", side + get("data/curated/rows.parquet"))
if name == "train":
    luck = os.urandom(8).hex() if "luck: true" in get("params.yaml") else ""
    put("models/candidate/head.safetensors", get("data/splits/train.parquet") + luck)
    put("models/candidate/adapter/weights.safetensors", get("params.yaml"))
    put("models/candidate/model.json", "{}")
if name == "evaluate":
    put("models/reports/plot.csv", "x\\n1\\n")
    put("models/reports/evaluate.json", json.dumps({"accuracy": 0.9, "macro_f1": 0.8}))
"""


@pytest.fixture(scope="module")
def pipeline_project_template(tiny_pipeline_template, tmp_path_factory):
    """A checkout with a finished run that was recorded."""
    shop = type(tiny_pipeline_template)(tmp_path_factory.mktemp("shop"))
    for name, text in {
        "dvc.yaml": STAGES,
        "params.yaml": "train:\n  device: auto\n  luck: false\n",
        "tasks/__init__.py": "",
        "tasks/step.py": STEP,
        "pyproject.toml": '[project]\nname = "tiny"\nversion = "1"\ndependencies = ["click>=1"]\n',
        "requirements.lock": "# none\n",
        "data/raw/one.txt": "potato\n",
        "data/raw/two.txt": "leek\n",
        "models/reports/.gitignore": "/plot.csv\n",
        ".gitignore": "__pycache__\n/.retune\n/data/*\n!/data/*.dvc\n/models/candidate\nrecord.json\n",
    }.items():
        shop.write(name, text)
    init_repository(shop.folder)
    shop.dvc("init", "-q")
    shop.git("add", "-A")
    shop.git("commit", "-q", "-m", "start")
    shop.dvc("add", "-q", "data/raw")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(shop.folder)
        (shop.folder / "record.json").write_text(json.dumps(run(shop)), "utf-8")
    return shop


@pytest.fixture
def pipeline_project(pipeline_project_template, tmp_path, monkeypatch):
    folder = tmp_path / "shop"
    shutil.copytree(pipeline_project_template.folder, folder, symlinks=True)
    monkeypatch.chdir(folder)
    dvc_store._repository.cache_clear()
    return replace(pipeline_project_template, folder=folder)


def run(pipeline_project, **params):
    """Run the pipeline, from a dirty workspace if there are `params`, and return the record of it."""
    text = Path("params.yaml").read_text("utf-8")
    for name, value in params.items():
        text = text.replace(f"{name}: false", f"{name}: {value}")
    pipeline_project.write("params.yaml", text)
    pipeline_project.dvc("repro", "-q")
    return record_of(dvc.save_record("run-1"), Path("models/candidate"))


def record_of(commit, model, threads=0):
    stages = yaml.safe_load(Path("dvc.lock").read_text("utf-8"))["stages"].values()
    entries = [entry for each in stages for kind in ("deps", "outs") for entry in each.get(kind, [])]
    files = {
        f"artifacts/candidate/{path.relative_to(model)}": hashlib.sha256(path.read_bytes()).hexdigest()
        for path in model.rglob("*")
        if path.is_file()
    }
    scores = json.loads(Path("models/reports/evaluate.json").read_text("utf-8"))
    return {
        "code": {"record_commit": commit},
        "pipeline": {"hashes": {entry["path"]: entry["md5"] for entry in entries}},
        "base": {"name": "package:nothing"},
        "environment": {"python": "3", "platform": "p", "torch": "t", "device": "cpu", "threads": threads},
        "scores": {"candidate": {name: {"value": scores[name]} for name in ("accuracy", "macro_f1")}},
        "files": {**files, "MLmodel": "0" * 64},
    }


def lines_of(lines, word):
    return [line for line in lines if word in line]
