"""A folder of its own for each run: real git worktrees of a real DVC repository."""

import os
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import pytest

from flows.execution import disk_errors, worktree
from retune.errors import Broken


@pytest.fixture
def checkout(tiny_pipeline):
    return tiny_pipeline


def worktrees():
    return subprocess.run(["git", "worktree", "list"], capture_output=True, text=True, check=True).stdout.splitlines()


def test_a_run_works_elsewhere_and_leaves_nothing_behind(checkout):
    before = checkout.file_contents()
    with worktree.workspace("brave-newt") as folder:
        assert Path.cwd() == folder
        assert (folder / "dvc.yaml").exists()
        Path("made.txt").write_text("x")
    assert Path.cwd() == checkout.folder
    assert {name: content for name, content in checkout.file_contents().items() if not name.startswith(".")} == {
        name: content for name, content in before.items() if not name.startswith(".")
    }
    assert not folder.exists() and len(worktrees()) == 1 and worktree.left() == []


def test_edits_that_are_not_committed_are_there_and_deleted_files_are_not(checkout):
    Path("dvc.yaml").write_text(Path("dvc.yaml").read_text() + "# edited\n")
    Path("params.yaml").unlink()
    with worktree.workspace("run"):
        assert Path("dvc.yaml").read_text().endswith("# edited\n")
        assert not Path("params.yaml").exists()


def test_the_cache_and_the_checkpoints_are_shared_and_private_settings_stay_private(checkout):
    Path(".dvc/config.local").write_text(
        "['remote \"store\"']\n    url = s3://far/away\n    secret_access_key = secret\n[cache]\n    type = copy\n"
    )
    with worktree.workspace("run"):
        cache_folder = subprocess.run(
            [sys.executable, "-m", "dvc", "cache", "dir"], capture_output=True, text=True
        ).stdout
        assert Path(cache_folder.strip()) == checkout.folder / ".dvc/cache"
        settings = Path(".dvc/config.local").read_text()
        assert "secret_access_key = secret" in settings and "type = copy" in settings
        assert Path(".dvc/config.local").stat().st_mode & 0o077 == 0
        Path(".retune/checkpoints/x").write_text("x")
    assert (checkout.folder / ".retune/checkpoints/x").exists()


def test_a_remote_that_is_named_by_a_relative_path_is_the_same_one(checkout):
    checkout.dvc("remote", "add", "-q", "-d", "near", "../near")
    with worktree.workspace("run"):
        checkout_of = subprocess.run([sys.executable, "-m", "dvc", "push"], capture_output=True, text=True)
        assert checkout_of.returncode == 0, checkout_of.stderr
        remotes = subprocess.run([sys.executable, "-m", "dvc", "remote", "list"], capture_output=True, text=True).stdout
    assert str(checkout.folder.parent / "near") in remotes


def test_a_failed_run_keeps_its_folder_until_it_is_swept(checkout):
    with pytest.raises(RuntimeError), worktree.workspace("run") as folder:
        Path("made.txt").write_text("x")
        raise RuntimeError("no luck")
    (failed_run,) = worktree.left()
    assert (failed_run.folder, failed_run.why) == (folder, "RuntimeError: no luck") and (folder / "made.txt").exists()
    assert worktree.sweep(1) == []
    os.utime(folder, (1, 1))
    os.utime(folder / worktree.FAILED, (1, 1))
    assert [each.folder for each in worktree.sweep(1)] == [folder]
    assert worktree.left() == [] and len(worktrees()) == 1


def test_a_folder_that_nobody_wants_to_look_at_goes_in_any_case(checkout):
    with pytest.raises(RuntimeError), worktree.workspace("intake", keep=False):
        raise RuntimeError("another was faster")
    assert worktree.left() == [] and len(worktrees()) == 1


def test_two_at_once_have_two_folders_and_neither_counts_as_left(checkout):
    with worktree.workspace("run") as one, chdir(checkout.folder), worktree.workspace("run") as other:
        assert one != other
        with chdir(checkout.folder):
            assert worktree.left() == []


def test_the_folder_of_a_killed_process_is_found(checkout):
    program = "import os\nfrom flows.execution import worktree\nwith worktree.workspace('run'): os.kill(os.getpid(), 9)"
    root = Path(worktree.__file__).parents[2]
    subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(root)})
    (failed_run,) = worktree.left()
    assert failed_run.why == "its process was killed"
    worktree.remove(failed_run.folder)
    assert len(worktrees()) == 1


def test_a_disk_that_is_too_small_is_named_in_a_line(checkout):
    """Git tells of each file that it could not write, and of no disk."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    for number in range(100):
        checkout.write(f"many/{number}.bin", os.urandom(4000).hex())
    checkout.git("add", "many")
    checkout.git("commit", "-qm", "many files")
    runs = checkout.folder / worktree.FOLDER
    runs.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", runs]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        with pytest.raises(Broken) as error, worktree.workspace("run"):
            pass
    finally:
        subprocess.run(["umount", "--lazy", runs], check=True)
    message = str(error.value)
    assert len(message.splitlines()) == 1 and message.count("unable to write file") == 1 and "more lines" in message
    assert f"{runs} needs " in message and disk_errors.is_full(message)
    assert disk_errors.is_full(worktree._no_room(checkout.folder)) is False


def test_a_hook_of_the_user_that_fails_keeps_no_run_from_its_folder(checkout):
    hook = Path(".git/hooks/post-checkout")
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with worktree.workspace("run") as folder:
        assert (folder / "dvc.yaml").exists()
