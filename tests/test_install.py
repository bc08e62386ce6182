"""infra/install.py: what pip was told, uv is told too, and pip stands in where uv fails."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "infra/install.py"
LISTING = """\
:env:.cert='/etc/ours.pem'
:env:.find-links='/srv/wheels ~/wheels'
global.extra-index-url='\\nhttps://one.example/simple\\nhttps://two.example/simple'
global.find-links='/srv/old'
global.index-url='https://global.example/simple'
global.timeout='60'
install.index-url='https://install.example/simple'
"""


@pytest.fixture(scope="module")
def install():
    spec = importlib.util.spec_from_file_location("install", SCRIPT)
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    return module


def test_a_variable_wins_over_a_file_and_the_section_of_install_over_the_global_one(install):
    settings = install.settings(LISTING)
    assert settings["find-links"] == "/srv/wheels ~/wheels"
    assert settings["index-url"] == "https://install.example/simple"


def test_uv_is_told_where_pip_would_look_and_whom_it_trusts(install, monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")
    assert install.variables(install.settings(LISTING), {"LANG": "C"}) == {
        "LANG": "C",
        "UV_DEFAULT_INDEX": "https://install.example/simple",
        "UV_INDEX": "https://one.example/simple https://two.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/srv/wheels,/home/anna/wheels",
        "SSL_CERT_FILE": "/etc/ours.pem",
    }


@pytest.mark.parametrize(
    ("settings", "unset"),
    [
        ({"UV_DEFAULT_INDEX": "mine"}, []),
        ({"UV_INDEX_URL": "mine"}, ["UV_DEFAULT_INDEX"]),
        ({"UV_INDEX": "mine"}, ["UV_INDEX_STRATEGY"]),
        ({"UV_EXTRA_INDEX_URL": "mine"}, ["UV_INDEX", "UV_INDEX_STRATEGY"]),
        ({"UV_INDEX_STRATEGY": "first-index"}, []),
        ({"UV_FIND_LINKS": "mine"}, []),
        ({"SSL_CERT_FILE": "mine"}, []),
    ],
)
def test_a_variable_of_uvs_own_wins(install, settings, unset):
    environment = install.variables(install.settings(LISTING), settings)
    assert settings.items() <= environment.items()
    assert not set(unset) & set(environment)


def test_where_pip_has_no_settings_uv_gets_none(install):
    assert install.variables(install.settings(""), {"LANG": "C"}) == {"LANG": "C"}


@pytest.fixture
def stubs(tmp_path):
    """Runs the script beside a `uv` that ends with a code, and with a pip; both record. Returns what came of it."""
    pip = "import pathlib, sys\n"
    pip += "if 'list' in sys.argv: print(\":env:.find-links='/srv/wheels'\")\n"
    pip += f"else: pathlib.Path({str(tmp_path / 'pip.txt')!r}).write_text(' '.join(sys.argv[1:]))\n"
    (tmp_path / "pip.py").write_text(pip, "utf-8")
    (tmp_path / "python").symlink_to(sys.executable)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_"))}

    def run(code):
        uv = tmp_path / "uv"
        uv.write_text(f'#!/bin/sh\necho "$UV_FIND_LINKS" "$@" > {tmp_path}/uv.txt\nexit {code}\n', "utf-8")
        uv.chmod(0o755)
        command = [tmp_path / "python", SCRIPT]
        return subprocess.run(command, env={**env, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)

    return run


def test_uv_installs_alone_where_it_can(stubs, tmp_path):
    done = stubs(0)
    assert done.returncode == 0 and done.stderr == ""
    expected = f"/srv/wheels pip install --python {tmp_path}/python -c requirements.lock -e .[dev]"
    assert (tmp_path / "uv.txt").read_text("utf-8").strip() == expected
    assert not (tmp_path / "pip.txt").exists()


def test_pip_stands_in_for_a_uv_that_fails_and_says_so_in_a_line(stubs, tmp_path):
    done = stubs(1)
    assert done.returncode == 0
    assert done.stderr == "uv could not install (exit code 1), so pip does: that takes longer\n"
    assert (tmp_path / "pip.txt").read_text("utf-8").endswith("install -c requirements.lock -e .[dev]")
