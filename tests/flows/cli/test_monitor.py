"""`retune monitor`, as people call it: its exit codes, what it prints, and its page."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from flows.cli.monitor import monitor
from flows.project import environment
from retune.serving import database
from tasks.monitor import report as reports
from tasks.monitor.windows import VersionFacts
from tests.support import served
from tests.support.environment import ROOT
from tests.support.served import DAY, day


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "params.yaml").read_text("utf-8").replace("reference_hours: 168.0", "reference_hours: 24.0")
    (tmp_path / "params.yaml").write_text(text)
    monkeypatch.setenv(database.ADDRESS, f"sqlite:///{tmp_path}/serving.db")
    monkeypatch.setattr(environment, "activate_project", lambda: None)
    facts = VersionFacts(frozenset({"parcel"}), np.arange(200) < 190, np.linspace(0.7, 1, 200))
    monkeypatch.setattr(reports, "version_facts", lambda name, version: facts)

    def run(*words, days=()):
        from datetime import UTC, datetime

        shift = datetime.now(UTC).timestamp() - served.START - 3 * DAY - 60
        from dataclasses import replace

        served.write(database.connect(), [replace(row, time=row.time + shift) for rows in days for row in rows])
        return CliRunner().invoke(monitor, ["desk", *words])

    return run


def test_traffic_without_drift_ends_with_0_and_shows_each_test(call):
    done = call(days=[day(0), day(1), day(2)])
    assert done.exit_code == 0, done.output
    assert "desk/1   champion  450    0       100.0%  74" in done.output
    assert "estimated by confidence" in done.output and "Kolmogorov" not in done.output
    assert "desk: no drift seen in labels, confidence, length, vectors, unknown words, languages" in done.output


def test_an_alarm_ends_with_1_and_is_on_the_page(call, tmp_path):
    done = call("--html", "monitor.html", days=[day(0), day(1, label="a"), day(2, label="a")])
    assert done.exit_code == 1
    assert "ALARM: what is asked of desk/1 has changed, two windows in a row: labels" in done.output
    assert "<strong>Alarm</strong>" in (tmp_path / "monitor.html").read_text("utf-8")


def test_without_traffic_it_says_so_and_ends_with_0(call):
    done = call()
    assert (done.exit_code, done.output.strip()) == (
        0,
        "desk: nobody has asked desk anything yet: `retune serve` answers, and each answer is logged",
    )
    answer = json.loads(call("--json").output)
    assert (answer["verdict"], answer["alarms"], answer["traffic"]) == ("no traffic", [], [])


def test_a_page_that_cannot_be_written_is_named(call):
    done = call("--html", "params.yaml/monitor.html")
    assert "--html" in str(done.exception) and "cannot be written" in str(done.exception)
