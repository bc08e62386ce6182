"""What runs before a commit, on each push and each night uses the words of the Makefile, and tools that are locked."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"][0]["hooks"]
BIN = ROOT / ".venv/bin"


def make_words(text):
    return {word for line in re.findall(r"(?:^|[\s\"`:])make ([a-z][a-z -]*)", text) for word in line.split()}


def targets():
    return set(re.findall(r"^([a-z][\w-]*):", MAKEFILE, re.M))


def recipe(target):
    """The tools that a word of the Makefile runs, with the words behind them."""
    lines = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.M)[1]
    return re.findall(r"\$\(BIN\)/(.+)", lines)


def jobs(path):
    return yaml.safe_load(path.read_text("utf-8"))["jobs"]


def commands(path):
    """What the jobs of a workflow run, once for each value of their matrix."""
    for job in jobs(path).values():
        words = job.get("strategy", {}).get("matrix", {}).get("word", [""])
        for step in job["steps"]:
            yield from (step.get("run", "").replace("${{ matrix.word }}", word) for word in words)


def test_every_word_is_phony():
    assert set(re.search(r"^\.PHONY: (.*)", MAKEFILE, re.M)[1].split()) == targets()


def test_what_make_runs_keeps_what_python_compiles_also_in_an_image_that_forbids_it():
    words = ["make", "-s", "-f", "-", "-f", "Makefile", "show"]
    process = subprocess.run(
        words,
        input="show: ; @env\n",
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "OTHER": "2"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert "OTHER=2" in process.stdout and "PYTHONDONTWRITEBYTECODE" not in process.stdout, process


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_asks_for_words_that_the_makefile_has(path):
    words = {word for command in commands(path) for word in make_words(command)}
    assert words and words <= targets()


def test_the_entry_of_any_other_machine_asks_for_words_that_the_makefile_has():
    script = (ROOT / ".ci/run").read_text("utf-8")
    assert {"check", "docs", "test", "test-slow"} <= make_words(script) <= targets()


def test_each_push_checks_and_tests_on_every_python_that_is_supported():
    matrix = jobs(ROOT / ".github/workflows/ci.yml")["fast"]["strategy"]["matrix"]
    assert matrix == {"python": ["3.11", "3.12", "3.13"], "word": ["check", "test"]}
    assert PROJECT["requires-python"] == f">={matrix['python'][0]}"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_job_ends_and_a_workflow_may_do_only_what_it_says(path):
    assert "permissions" in yaml.safe_load(path.read_text("utf-8"))
    assert all("timeout-minutes" in job for job in jobs(path).values())


def test_the_hooks_before_a_commit_are_the_words_of_make_check_and_the_search_for_secrets():
    entries = [hook["entry"].removeprefix(".venv/bin/").replace(" --force-exclude", "") for hook in HOOKS]
    checks = [line.replace(" --check", "").removesuffix(" .") for line in recipe("check")]
    assert entries == [*checks, "detect-secrets-hook"]
    assert {hook["language"] for hook in HOOKS} == {"system"}, "nothing is fetched"


def search_for_secrets(path):
    hook = HOOKS[-1]
    command = [Path(sys.executable).parent / "detect-secrets-hook", *hook["args"], path]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_a_secret_is_refused_and_a_placeholder_is_not(tmp_path):
    key = "AKIA" + "IOSFODNN7QWERTYU"
    (leak := tmp_path / "leak.py").write_text(f'KEY = "{key}"\n')
    (example := tmp_path / "example.py").write_text(
        'URL = "https://desk:s3cret@host/"\nHASH = "' + "0a1b2c3d" * 8 + '"\n'
    )
    assert search_for_secrets(leak).returncode == 1
    assert search_for_secrets(example).returncode == 0


def test_the_container_to_develop_in_sets_up_the_clone_on_a_python_that_is_supported():
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text("utf-8"))
    assert make_words(container["postCreateCommand"]) == {"setup"}
    assert re.search(r"python:3\.1[123]-", container["image"])


@pytest.fixture
def lock(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "infra")
    spec = importlib.util.spec_from_file_location("lock", ROOT / "infra/lock.py")
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    return module


def test_a_lock_written_anew_keeps_its_comments_and_names_no_platform(lock):
    resolved = "click==8.5.1\npywin32==312 ; sys_platform == 'win32'\nsetuptools==84.2.1\n"
    assert lock.rewritten("# why\nclick==8.0.0\n", resolved) == "# why\nclick==8.5.1\npywin32==312\n"


def test_a_package_that_needs_two_versions_is_refused(lock):
    resolved = "numpy==2.2.6 ; python_full_version < '3.12'\nnumpy==2.4.0 ; python_full_version >= '3.12'\n"
    with pytest.raises(SystemExit, match="every Python and platform: numpy"):
        lock.rewritten("", resolved)
