import os
import subprocess

import pytest

from retune.errors import WrongUse
from retune.system import git
from tests.support.git_repo import init_repository


def test_outside_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert git.commit() == ("none", False)


@pytest.fixture
def no_git_identity(tmp_path, monkeypatch):
    """A clone of which nobody has told git who works there."""
    for who in ("AUTHOR", "COMMITTER"):
        for what in ("NAME", "EMAIL"):
            monkeypatch.delenv(f"GIT_{who}_{what}", raising=False)
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    return monkeypatch


def configure(**values):
    for name, value in values.items():
        subprocess.run(["git", "config", f"user.{name}", value], check=True)


def test_what_runs_by_itself_needs_no_person_and_a_decision_does(no_git_identity):
    assert "@" in git.identity(), "the account"
    with pytest.raises(WrongUse, match=r"no user\.name and no user\.email here.*GIT_AUTHOR_NAME"):
        git.require_person()


def test_a_name_without_a_mail_is_half_a_person(no_git_identity):
    configure(name="A. Tester")
    with pytest.raises(WrongUse, match=r"knows no user\.email here"):
        git.require_person()


@pytest.mark.parametrize("how", ["config", "AUTHOR", "COMMITTER"])
def test_a_person_is_who_git_or_the_environment_names_and_signs_what_is_decided(no_git_identity, how):
    if how == "config":
        configure(name="A. Tester", email="tester@example.com")
    else:
        no_git_identity.setenv(f"GIT_{how}_NAME", "A. Tester")
        no_git_identity.setenv(f"GIT_{how}_EMAIL", "tester@example.com")
    assert git.require_person() == "A. Tester <tester@example.com>"
    env = {**os.environ, **git.author_variables()}
    subprocess.run(["git", "commit", "-q", "--allow-empty", "-m", "start"], check=True, env=env)
    subprocess.run(["git", "tag", "-a", "-m", "so be it", "decided"], check=True, env=env)
    tagger = ["git", "for-each-ref", "--format=%(taggername) %(taggeremail)", "refs/tags/decided"]
    tagger_line = subprocess.run(tagger, capture_output=True, text=True, check=True).stdout
    assert tagger_line == "A. Tester <tester@example.com>\n"


@pytest.fixture
def git_clone(no_git_identity):
    configure(name="A. Tester", email="tester@example.com")
    subprocess.run(["git", "commit", "-q", "--allow-empty", "-m", "start"], check=True)
    return no_git_identity


def test_a_tag_is_written_where_git_is_told_to_sign_each_and_the_key_is_away(git_clone):
    for name, value in (("tag.gpgSign", "true"), ("gpg.program", "/bin/false")):
        subprocess.run(["git", "config", name, value], check=True)
    git.tag("classifier#decided#1", "HEAD", "why\n", 1_700_000_000)
    [entry] = git.objects(["refs/tags/classifier#decided#1"])
    assert entry.kind == "tag" and entry.content.endswith(b"<tester@example.com> 1700000000 +0000\n\nwhy\n")


def test_objects_come_in_order_and_a_damaged_one_hides_no_other(git_clone, tmp_path):
    names = [git.output("hash-object", "-w", "--stdin", stdin=text) for text in (b"one", b"two", b"")]
    damaged = tmp_path / ".git/objects" / names[1][:2] / names[1][2:]
    damaged.chmod(0o644)
    damaged.write_bytes(b"torn")
    first, second, third, absent = git.objects([*names, "HEAD:a file that is not there"])
    assert (first, second, third, absent) == (("blob", b"one"), None, ("blob", b""), None)


def test_a_command_that_fails_says_what_git_said(git_clone):
    with pytest.raises(git.GitError, match=r"git rev-parse failed: fatal: .*nothing") as caught:
        git.output("rev-parse", "nothing")
    assert caught.value.exit_code == 3 and "nothing" in caught.value.stderr
    assert git.output("rev-parse", "--verify", "--quiet", "nothing", check=False) == ""
    assert not git.succeeds("cat-file", "-e", "nothing")


def test_a_hook_of_the_user_stops_no_tag_and_no_worktree(git_repository):
    hooks = git_repository / ".git/hooks"
    for name in ("post-checkout", "reference-transaction"):
        (hooks / name).write_text("#!/bin/sh\nexit 2\n", "utf-8")
        (hooks / name).chmod(0o755)
    git.run("config", "tag.gpgSign", "true")
    git.run("config", "gpg.program", "false")
    git.tag("model@v1", git.require_commit(), "so be it", 1_700_000_000)
    git.run("worktree", "add", "--detach", "beside", "HEAD")
    assert git.output("tag", "--list") == "model@v1"


def test_the_worktree_of_a_submodule_shares_the_state_of_the_submodule(git_repository, tmp_path_factory, monkeypatch):
    inner = tmp_path_factory.mktemp("inner")
    init_repository(inner)
    git.run("-c", "protocol.file.allow=always", "submodule", "add", str(inner), "ml")
    monkeypatch.chdir(git_repository / "ml")
    assert git.subfolder() == ""
    git.run("worktree", "add", "--detach", "beside", "HEAD")
    monkeypatch.chdir("beside")
    assert git.main_checkout() == git_repository / "ml"
