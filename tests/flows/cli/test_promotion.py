"""What others hear when a person makes another champion, through a real server."""

import shutil
import subprocess
from pathlib import Path

import pytest

from flows.cli import promotion
from retune.lineage import history
from retune.lineage.entry_facts import Fact
from tasks import notify
from tests.support.environment import ROOT
from tests.support.git_repo import init_repository


@pytest.fixture
def notifications_of(tmp_path, monkeypatch, webhook):
    """Enters what a person did into a real history, tells it as the commands do, and returns what others heard."""
    port, notifications = webhook
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(notify.VARIABLE, f"json://127.0.0.1:{port}")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    init_repository(tmp_path)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()

    def tell(event, how=None, resumed=None):
        facts = {"Record": commit, "Checked": "64 rows", **({Fact.HOW: how} if how else {})}
        entry = history.append("classifier", 5, event, ["the desk asked"], facts, lambda entry: None)
        promotion.print_entry(entry, False, resumed)
        return notifications

    return tell


@pytest.mark.parametrize(
    ("event", "how", "title", "words"),
    [
        (history.CHAMPION, history.BY_HAND, "promoted", "champion, chosen by A. Tester <tester@example.com>"),
        (history.CHAMPION, history.ROLLBACK, "promoted", "champion again, by a rollback of A. Tester"),
        (history.CHAMPION, history.PROMOTED, "promoted", "champion, approved by A. Tester"),
        (history.REJECTED, None, "held", "no champion, rejected by A. Tester"),
    ],
)
def test_others_hear_who_made_which_version_champion_and_why(notifications_of, event, how, title, words):
    (notification,) = notifications_of(event, how)
    assert notification["title"] == f"classifier/5: {title}"
    assert words in notification["message"] and "the desk asked" in notification["message"]


def test_a_flow_run_that_goes_on_tells_it_itself(notifications_of):
    assert notifications_of(history.CHAMPION, history.PROMOTED, resumed=True) == []


def test_parameters_that_cannot_be_read_keep_nobody_from_a_rollback_and_others_from_hearing_of_it(
    notifications_of, capsys
):
    Path("params.yaml").write_text("notify: {}")
    (notification,) = notifications_of(history.CHAMPION, history.ROLLBACK)
    assert notification["title"] == "classifier/5: promoted"
    assert "params.yaml: task is None" in capsys.readouterr().err
