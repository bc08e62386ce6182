import numpy as np
import pytest

from retune.config.serving import Monitor
from tasks.monitor import report as reports
from tasks.monitor.page import page
from tasks.monitor.windows import VersionFacts
from tests.support import served
from tests.support.served import DAY, START, day

CONFIG = Monitor(window_hours=24.0, reference_hours=24.0, false_alarms=0.01, cost_per_1000=2.0, review_rows=10)


@pytest.fixture
def report(tmp_path, monkeypatch):
    facts = VersionFacts(frozenset({"parcel"}), np.arange(200) < 190, np.linspace(0.7, 1, 200))
    monkeypatch.setattr(reports, "version_facts", lambda name, version: facts)

    def make(days, now=START + 3 * DAY):
        engine = served.database_in(tmp_path)
        served.write(engine, days)
        return reports.report(engine, "desk", CONFIG, 7, now)

    return make


def test_the_page_shows_the_alarm_the_figures_and_the_windows(report):
    hostile = "<b>a</b>"
    html = page(report([*day(0), *day(1, label=hostile), *day(2, label=hostile)]), "EUR")
    assert "<strong>Alarm</strong>" in html and "has changed, two windows in a row" in html
    assert hostile not in html and "&lt;b&gt;a&lt;/b&gt;" in html
    assert "0.90 EUR" in html and "450" in html
    assert 'aria-label="labels: 2 of 2 windows show a shift"' in html
    assert html == page(report([]), "EUR"), "the same log gives the same page"


def test_the_page_of_no_traffic_and_of_a_reference_that_fills_says_so(report):
    assert "nobody has asked desk anything yet" in page(report([]), "EUR")
    html = page(report(day(0), now=START + DAY / 2), "EUR")
    assert "insufficient data: the reference holds" in html and "<strong>Alarm" not in html
