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


def knows(desk):
    """What must be the same before and after."""
    asked = {
        "models": desk.query("models"),
        "history": desk.query("history", "classifier"),
        "intake": desk.query("quarantine", "list"),
        "verified": [desk.query("verify", "classifier@champion")["ok"], desk.query("history", "--verify")["ok"]],
        "next": desk.retrain_report("--dry-run"),
        "edits": desk.checkout_state(),
        "raw": {path.name: path.read_bytes() for path in (desk.clone.folder / "data/raw").iterdir()},
    }
    origin = desk.clone.git("remote", "get-url", "origin"), desk.clone.git("config", "user.name")
    return {**asked, "git": (origin, desk.clone.git("for-each-ref", "--format=%(refname) %(objectname)"))}


@pytest.mark.parametrize("remote", [True, False], ids=["with a DVC remote", "without"])
def test_a_clone_at_work_is_restored_whole(make_team, make_retraining_clone, passable_folder, tmp_path, remote):
    team = make_team("--no-worker", stand_in=False)
    desk = make_retraining_clone(team.clone, tmp_path)
    team.clone.git("remote", "add", "origin", "https://git.example.com/desk.git")
    team.clone.git("config", "user.name", "A. Tester")
    team.clone.git("config", "user.email", "tester@example.com")
    if remote:  # told to this clone alone, as whoever needs a password for it does
        store = passable_folder() / "store"
        assert team.clone.dvc("remote", "add", "--local", "--default", "store", store).returncode == 0
    desk.rows[:380].to_csv(tmp_path.parent / "own.csv", index=False)
    words = ["--text", "body", "--label", "queue", "--id", "ticket_id", "--group", "customer_id"]
    done = team.clone.retune("ingest", tmp_path.parent / "own.csv", *words)
    assert done.returncode == 0, done.stderr
    desk.deliver("start.csv", desk.rows[380:420])
    assert desk.retrain_report()["version"] == "classifier/1"
    desk.deliver("bad.csv", desk.rows[420:440])  # too few to train on, so that they are there to be set aside
    assert desk.retrain_report()["outcome"] == "nothing to do"
    assert desk.clone.python("-c", SET_THE_LAST_ASIDE).returncode == 0
    assert [each["rows"] for each in desk.query("quarantine", "list")["aside"].values()] == [20]
    (team.clone.folder / "dvc.yaml").open("a").write("# an edit that nobody has committed\n")
    before = knows(desk)

    backup, into = passable_folder() / "backup", passable_folder() / "restored"
    script(team.clone, "back_up.sh", backup)
    assert (backup / "dvc-cache.tar").exists() is not remote
    untracked = subprocess.run(["tar", "-tf", backup / "untracked.tar"], capture_output=True, text=True).stdout
    assert "data/raw.dvc" in untracked.split()
    assert team.down().returncode == 0
    shutil.rmtree(team.clone.folder / ".dvc/cache")
    restored = type(desk)(type(team.clone)(into), desk.inbox, desk.rows)
    try:
        script(team.clone, "restore.sh", backup, into)
        after = knows(restored)
        assert {name: after[name] for name in after if after[name] != before[name]} == {}
        restored.deliver("more.csv", desk.rows[440:490])
        assert json.loads(restored.retrain().stdout)["version"] == "classifier/2", "and it goes on"
        restored.assert_consistent()
    finally:
        restored.clone.retune("down", timeout=180)
