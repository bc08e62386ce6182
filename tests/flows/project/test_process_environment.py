import getpass
import os
import sys
from pathlib import Path

import pytest

from flows.project import process_environment
from retune.errors import Broken

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    for name in NAMES:
        for each in (name, name.upper()):
            monkeypatch.setenv(each, "")  # what the code under test sets is taken back
            monkeypatch.delenv(each)


def test_loopback_never_goes_through_a_proxy(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "git.example, localhost")
    process_environment.bypass_proxies()
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == "git.example,localhost,127.0.0.1,::1"


def test_without_a_proxy_nothing_is_set():
    process_environment.bypass_proxies()
    assert "NO_PROXY" not in os.environ


def test_an_account_without_home_and_name_gets_both(monkeypatch, tmp_path):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    def nobody():
        raise OSError("No username set in the environment")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr(getpass, "getuser", nobody)
    monkeypatch.setenv("HOME", "")
    monkeypatch.setenv("USER", "")
    process_environment.give_home(tmp_path / ".retune")
    assert os.environ["HOME"] == str(tmp_path / ".retune" / "home")
    assert (tmp_path / ".retune" / "home").is_dir()
    assert os.environ["USER"] == f"uid-{os.getuid()}"


def test_a_home_stays_what_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    process_environment.give_home(tmp_path / ".retune")
    assert os.environ["HOME"] == str(tmp_path)
    assert not (tmp_path / ".retune").exists()


@pytest.fixture
def other_clone(tmp_path, monkeypatch):
    (tmp_path / "flows" / "cli").mkdir(parents=True)
    (tmp_path / "flows" / "cli" / "main.py").touch()
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return tmp_path


def test_a_command_of_another_clone_starts_over_with_the_code_of_this_one(other_clone, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "execve", lambda *call: calls.append(call))
    process_environment.run_own_code(other_clone, ["plan", "--json"])
    ((program, arguments, environment),) = calls
    assert (program, arguments) == (sys.executable, [sys.executable, "-m", "flows.cli", "plan", "--json"])
    assert environment["PYTHONPATH"].split(os.pathsep)[0] == str(other_clone)


def test_a_command_that_cannot_run_the_code_of_this_clone_is_refused(other_clone, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(other_clone))
    with pytest.raises(Broken, match=f"not that of {other_clone}: run `make setup`"):
        process_environment.run_own_code(other_clone, ["plan"])


def test_a_command_in_its_own_clone_or_in_none_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("started over"))
    process_environment.run_own_code(process_environment.CODE, ["plan"])
    process_environment.run_own_code(None, ["plan"])
    process_environment.run_own_code(tmp_path, ["plan"])  # a project without code of its own
