"""What is installed: every file that the code reads, and a command that starts without what it does not need."""

import subprocess
import sys
import tomllib

from tests.support.environment import ROOT

HEAVY = {
    "apprise",
    "cryptography",
    "cyclonedx",
    "datasets",
    "dvc",
    "evaluate",
    "great_expectations",
    "httpx",
    "matplotlib",
    "mlflow",
    "model_signing",
    "numpy",
    "pandas",
    "peft",
    "prefect",
    "pyarrow",
    "pydantic",
    "rouge_score",
    "sacrebleu",
    "sklearn",
    "sqlalchemy",
    "torch",
    "transformers",
}


def test_the_command_line_shows_its_help_without_importing_anything_heavy(tmp_path):
    program = (
        "import sys; from flows.cli import main\n"
        "try: main.retune(['--help'])\n"
        "except SystemExit: print('MODULES', *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    output = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    help_text, _, modules = output.partition("MODULES")
    assert "Usage:" in help_text
    assert set(modules.split()) & HEAVY == set()
    assert list(tmp_path.iterdir()) == []


def test_no_folder_of_tests_is_a_package_that_could_shadow_the_real_one():
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_a_file_that_stands_beside_the_code_is_installed_with_it():
    packed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]
    installed = {path for top, globs in packed.items() for glob in globs for path in (ROOT / top).glob(glob)}
    data_files = {
        path
        for top in ("retune", "tasks", "flows")
        for path in (ROOT / top).rglob("*.*")
        if "__pycache__" not in path.parts
    }
    assert {path for path in data_files if path.suffix != ".py"} == installed
