"""A clone at work is backed up and restored elsewhere: what it knew, held and would do next is there again."""

import json
import shutil
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]


def script(clone, name, *words):
    env = {**clone.environment(), "PYTHON": sys.executable}
    command = ["sh", f"infra/{name}", *map(str, words)]
    done = subprocess.run(command, cwd=clone.folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


SET_THE_LAST_ASIDE = """
from flows.project import environment
environment.activate_project()
from flows.retraining import intake
from retune.data import intake_branch; from retune.system import dvc_store, git
now = intake_branch.read()
before = git.output("show", f"{now.commit}~1:data/raw.dvc").encode()
gone = set(dvc_store.listing(now.raw).values()) - set(dvc_store.listing(intake_branch.md5(before)).values())
assert intake.quarantine(gone, "they were poisoned", "2026-01-01T00:00:00+00:00")
"""


def knows(retraining_clone):
    """What must be the same before and after."""
    answers = {
        "models": retraining_clone.query("models"),
        "history": retraining_clone.query("history", "classifier"),
        "intake": retraining_clone.query("quarantine", "list"),
        "verified": [
            retraining_clone.query("verify", "classifier@champion")["ok"],
            retraining_clone.query("history", "--verify")["ok"],
        ],
        "next": retraining_clone.retrain_report("--dry-run"),
        "edits": retraining_clone.checkout_state(),
        "raw": {path.name: path.read_bytes() for path in (retraining_clone.clone.folder / "data/raw").iterdir()},
    }
    origin = (
        retraining_clone.clone.git("remote", "get-url", "origin"),
        retraining_clone.clone.git("config", "user.name"),
    )
    return {**answers, "git": (origin, retraining_clone.clone.git("for-each-ref", "--format=%(refname) %(objectname)"))}


@pytest.mark.parametrize("remote", [True, False], ids=["with a DVC remote", "without"])
def test_a_clone_at_work_is_restored_whole(make_team, make_retraining_clone, passable_folder, tmp_path, remote):
    team = make_team("--no-worker", stand_in=False)
    retraining_clone = make_retraining_clone(team.clone, tmp_path)
    team.clone.git("remote", "add", "origin", "https://git.example.com/desk.git")
    team.clone.git("config", "user.name", "A. Tester")
    team.clone.git("config", "user.email", "tester@example.com")
    if remote:  # told to this clone alone, as whoever needs a password for it does
        store = passable_folder() / "store"
        assert team.clone.dvc("remote", "add", "--local", "--default", "store", store).returncode == 0
    retraining_clone.rows[:380].to_csv(tmp_path.parent / "own.csv", index=False)
    words = ["--text", "body", "--label", "queue", "--id", "ticket_id", "--group", "customer_id"]
    done = team.clone.retune("ingest", tmp_path.parent / "own.csv", *words)
    assert done.returncode == 0, done.stderr
    retraining_clone.deliver("start.csv", retraining_clone.rows[380:420])
    assert retraining_clone.retrain_report()["version"] == "classifier/1"
    retraining_clone.deliver(
        "bad.csv", retraining_clone.rows[420:440]
    )  # too few to train on, so that they are there to be set aside
    assert retraining_clone.retrain_report()["outcome"] == "nothing to do"
    assert retraining_clone.clone.python("-c", SET_THE_LAST_ASIDE).returncode == 0
    assert [each["rows"] for each in retraining_clone.query("quarantine", "list")["aside"].values()] == [20]
    (team.clone.folder / "dvc.yaml").open("a").write("# an edit that nobody has committed\n")
    before = knows(retraining_clone)

    backup, into = passable_folder() / "backup", passable_folder() / "restored"
    script(team.clone, "back_up.sh", backup)
    assert (backup / "dvc-cache.tar").exists() is not remote
    untracked = subprocess.run(["tar", "-tf", backup / "untracked.tar"], capture_output=True, text=True).stdout
    assert "data/raw.dvc" in untracked.split()
    assert team.down().returncode == 0
    shutil.rmtree(team.clone.folder / ".dvc/cache")
    restored = type(retraining_clone)(type(team.clone)(into), retraining_clone.inbox, retraining_clone.rows)
    try:
        script(team.clone, "restore.sh", backup, into)
        after = knows(restored)
        assert {name: after[name] for name in after if after[name] != before[name]} == {}
        restored.deliver("more.csv", retraining_clone.rows[440:490])
        assert json.loads(restored.retrain().stdout)["version"] == "classifier/2", "and it goes on"
        restored.assert_consistent()
    finally:
        restored.clone.retune("down", timeout=180)
