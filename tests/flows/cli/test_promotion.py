"""What others hear when a person makes another champion, through a real server."""

import shutil
import subprocess
from pathlib import Path

import pytest

from flows.cli import promotion
from retune.lineage import history
from retune.lineage.entry_facts import Fact
from tasks import notify


@pytest.fixture
def did(tmp_path, monkeypatch, webhook):
    """Enters what a person did into a real history, tells it as the commands do, and returns what others heard."""
    port, taken = webhook
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(notify.VARIABLE, f"json://127.0.0.1:{port}")
    shutil.copy(Path(__file__).parents[3] / "params.yaml", tmp_path)
    for words in (["init", "-q"], ["config", "user.name", "A. Tester"], ["config", "user.email", "t@example.com"]):
        subprocess.run(["git", *words], check=True)
    subprocess.run(["git", "commit", "-q", "--allow-empty", "-m", "start"], check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()

    def tell(event, how=None, resumed=None):
        facts = {"Record": commit, "Checked": "64 rows", **({Fact.HOW: how} if how else {})}
        entry = history.append("classifier", 5, event, ["the desk asked"], facts, lambda entry: None)
        promotion.print_entry(entry, False, resumed)
        return taken

    return tell


@pytest.mark.parametrize(
    ("event", "how", "told", "words"),
    [
        (history.CHAMPION, history.BY_HAND, "promoted", "champion, chosen by A. Tester <t@example.com>"),
        (history.CHAMPION, history.ROLLBACK, "promoted", "champion again, by a rollback of A. Tester"),
        (history.CHAMPION, history.PROMOTED, "promoted", "champion, approved by A. Tester"),
        (history.REJECTED, None, "held", "no champion, rejected by A. Tester"),
    ],
)
def test_others_hear_who_made_which_version_champion_and_why(did, event, how, told, words):
    (said,) = did(event, how)
    assert said["title"] == f"classifier/5: {told}"
    assert words in said["message"] and "the desk asked" in said["message"]


def test_a_flow_run_that_goes_on_tells_it_itself(did):
    assert did(history.CHAMPION, history.PROMOTED, resumed=True) == []


def test_parameters_that_cannot_be_read_keep_nobody_from_a_rollback_and_others_from_hearing_of_it(did, capsys):
    Path("params.yaml").write_text("notify: {}")
    (said,) = did(history.CHAMPION, history.ROLLBACK)
    assert said["title"] == "classifier/5: promoted"
    assert "params.yaml: task is None" in capsys.readouterr().err
