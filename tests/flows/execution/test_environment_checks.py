"""What a run is refused for before any stage."""

from pathlib import Path

import pytest

from flows.execution import environment_checks
from retune.errors import Broken, Refused
from retune.system import dvc_store, git
from tests.support.git_repo import git as run_git


def test_the_first_check_that_fails_ends_it_and_those_of_rows_come_later(monkeypatch):
    looked = []

    def look(name, error=None):
        def check(_):
            looked.append(name)
            if error:
                raise error

        return check

    checks = (
        environment_checks.EnvironmentCheck("fine", look("fine")),
        environment_checks.EnvironmentCheck("rows", look("rows"), reads_rows=True),
        environment_checks.EnvironmentCheck("bad", look("bad", Refused("no"))),
        environment_checks.EnvironmentCheck("later", look("later")),
    )
    monkeypatch.setattr(environment_checks, "CHECKS", checks)
    with pytest.raises(Refused, match="no"):
        environment_checks.require(None)
    assert looked == ["fine", "bad"]
    environment_checks.require_rows(None)
    assert looked == ["fine", "bad", "rows"]


def test_a_folder_without_a_commit_is_refused_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_git("init", "-q")
    with pytest.raises(Refused, match=r"no commit here yet.*git commit"):
        git.require_commit()


def test_a_checkout_of_another_account_is_refused_with_what_to_do(git_repository, monkeypatch):
    assert git.require_commit() == run_git("rev-parse", "HEAD")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(Refused, match=r"another account owns this checkout.*safe.directory"):
        git.require_commit()


@pytest.mark.parametrize(
    ("url", "reason"),
    [("s3://nobody/store", "dvc-s3"), ("ssh://127.0.0.1:9/store", "ssh"), ("{tmp}/file/store", "cannot be written to")],
)
def test_a_remote_out_of_reach_is_told_before_training(tiny_pipeline, tmp_path, url, reason):
    (tmp_path / "file").touch()
    Path(".dvc/config.local").write_text(
        f"[core]\nremote = team\n['remote \"team\"']\nurl = {url.format(tmp=tmp_path)}\n"
    )
    with pytest.raises(Broken, match=f"'team' is out of reach.*{reason}.*dvc config --local core.remote"):
        dvc_store.require_remote()


def test_a_folder_that_the_first_push_makes_is_a_remote_within_reach(tiny_pipeline, tmp_path):
    assert dvc_store.require_remote() == ""
    dvc_store._repository.cache_clear()
    Path(".dvc/config.local").write_text(f"[core]\nremote = team\n['remote \"team\"']\nurl = {tmp_path}/not/yet\n")
    assert dvc_store.require_remote() == f"team ({tmp_path}/not/yet)"
