from contextlib import contextmanager

import numpy as np
import pytest

from retune.config.serving import Monitor
from tasks.monitor import report as reports
from tasks.monitor import run_log
from tasks.monitor.windows import VersionFacts
from tests.support import served
from tests.support.served import DAY, START, day

CONFIG = Monitor(window_hours=24.0, reference_hours=24.0, false_alarms=0.01, cost_per_1000=0.0, review_rows=0)


@pytest.fixture
def runs(monkeypatch):
    logged = {}

    @contextmanager
    def run(experiment, name, tags):
        logged[name] = {"experiment": experiment, **tags}
        yield name

    monkeypatch.setattr(run_log.runs, "run", run)
    monkeypatch.setattr(run_log.runs, "log_metrics", lambda run_id, values: logged[run_id].update(values))
    return logged


def test_each_window_is_one_run_with_its_figures_and_is_logged_once(tmp_path, monkeypatch, runs):
    facts = VersionFacts(frozenset(), np.arange(200) < 190, np.linspace(0.7, 1, 200))
    monkeypatch.setattr(reports, "version_facts", lambda name, version: facts)
    engine = served.database_in(tmp_path)
    served.write(engine, [*day(0), *day(1, label="a"), *day(2, label="a")])
    early = reports.report(engine, "desk", CONFIG, 7, START + 2 * DAY)
    logged = run_log.log_windows(early, None)
    assert [run["verdict"] for run in runs.values()] == ["shift in one window"]
    logged = run_log.log_windows(reports.report(engine, "desk", CONFIG, 7, START + 3 * DAY), logged)
    (_, last) = runs.values()
    assert (last["experiment"], last["version"], last["verdict"]) == ("desk-served", "desk/1", "drift")
    assert (last["texts"], last["drift"], last["automatic"]) == (150, 1.0, 1.0)
    assert last["labels_adjusted_p"] < 0.01 and "unknown_words_adjusted_p" not in last
    assert logged == last["end"]
