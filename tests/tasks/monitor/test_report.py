"""The monitor on logs of three days: one of reference, two windows."""

import numpy as np
import pytest

from retune.config.serving import Monitor
from retune.monitoring import battery
from retune.serving import feedback, rollouts
from retune.serving.feedback import Review
from tasks.monitor import report as reports
from tasks.monitor import verdict_file, windows
from tasks.monitor.windows import VersionFacts
from tests.support import served
from tests.support.served import DAY, START, day

NOW = START + 3 * DAY
CONFIG = Monitor(window_hours=24.0, reference_hours=24.0, false_alarms=0.01, cost_per_1000=2.0, review_rows=10)
FACTS = VersionFacts(frozenset({"where", "is", "my", "parcel"}), np.arange(200) < 190, np.linspace(0.7, 1, 200))


@pytest.fixture(autouse=True)
def facts(monkeypatch):
    monkeypatch.setattr(reports, "version_facts", lambda name, version: FACTS)


@pytest.fixture
def engine(tmp_path):
    return served.database_in(tmp_path)


def test_the_same_questions_each_day_are_no_drift_and_all_is_counted(engine):
    shadow = [served.answer(time=START + 2.5 * DAY, arm="shadow", version="2", route="human") for _ in range(2)]
    failed = [served.answer(time=START + 2.5 * DAY, error="deadline", label="", confidence=None, route="")]
    served.write(engine, [*day(0), *day(1), *day(2), *shadow, *failed])
    report = reports.report(engine, "desk", CONFIG, 2, NOW)
    assert (report.version, report.verdict, report.alarms, report.retrain) == ("1", battery.NO_DRIFT, (), None)
    champion, shadowed = report.traffic
    assert (champion.arm, champion.answers, champion.errors, champion.automatic) == ("champion", 301, 1, 300)
    assert (champion.p50, champion.p99) == (pytest.approx(74.5, abs=1), pytest.approx(148, abs=1))
    assert (shadowed.arm, shadowed.version, shadowed.answers) == ("shadow", "2", 2)
    assert report.cost == pytest.approx(0.606)
    assert [window.texts for window in report.windows] == [150, 150]
    assert report.reference == ("1970-01-12T13:46:40+00:00", "1970-01-13T13:46:40+00:00", 150)
    assert report.test_accuracy.value == 0.95
    assert report.windows[-1].estimate.value == pytest.approx(0.9, abs=0.02)
    assert not report.estimated.is_sure


def test_a_shift_of_two_windows_is_an_alarm_and_with_less_confidence_a_reason_to_train(engine):
    served.write(engine, [*day(0), *day(1, label="a"), *day(2, label="a")])
    report = reports.report(engine, "desk", CONFIG, 7, NOW)
    assert report.verdict == battery.DRIFT
    assert report.alarms[0].startswith("what is asked of desk/1 has changed, two windows in a row: labels (a ")
    assert report.retrain is None, "its confidence is as it was"


def test_drift_with_a_fall_of_confidence_is_a_reason_to_train(engine):
    unsure = {"label": "a", "confidence": (4, 3)}
    served.write(engine, [*day(0), *day(1, **unsure), *day(2, **unsure)])
    report = reports.report(engine, "desk", CONFIG, 7, NOW)
    assert report.retrain.startswith(
        "what is asked of desk/1 has changed (labels, confidence), and its confidence fell"
    )
    assert report.windows[-1].by_threshold.value < 0.5


def test_a_shift_of_one_window_alarms_nobody(engine):
    served.write(engine, [*day(0), *day(1), *day(2, label="a")])
    report = reports.report(engine, "desk", CONFIG, 7, NOW)
    assert (report.verdict, report.alarms) == (battery.ONE_WINDOW, ())
    assert "shift in one window in labels" in report.words


def test_words_that_training_never_saw_are_a_shift(engine):
    new = {"text": "where is my drone"}
    served.write(engine, [*day(0), *day(1, **new), *day(2, **new)])
    report = reports.report(engine, "desk", CONFIG, 7, NOW)
    assert "unknown words (0.0% → 100.0%" in report.alarms[0]


def test_without_texts_or_training_rows_the_tests_of_words_say_what_they_lack(engine, monkeypatch):
    empty = VersionFacts(frozenset(), np.array([], dtype=bool), np.array([]))
    monkeypatch.setattr(reports, "version_facts", lambda name, version: empty)
    served.write(engine, [*day(0), *day(1), *day(2)], text="hashed")
    report = reports.report(engine, "desk", CONFIG, 7, NOW)
    lacks = {finding.test.name: finding.test.lacks for finding in report.windows[-1].findings if not finding.q}
    assert set(lacks) == {"unknown words", "languages"}
    assert "training rows are gone" in lacks["unknown words"] and "serve.log.text" in lacks["languages"]
    assert report.windows[-1].by_threshold.value is None and report.test_accuracy.value is None
    assert "insufficient data for unknown words, languages" in report.words


def test_before_the_reference_is_full_nothing_is_said_of_drift(engine):
    served.write(engine, day(0))
    report = reports.report(engine, "desk", CONFIG, 7, START + DAY / 2)
    assert (report.verdict, report.windows, report.estimated) == (reports.FILLING, (), None)
    assert "insufficient data: the reference holds" in report.words


def test_a_reference_with_few_texts_goes_on_by_whole_windows(engine):
    served.write(engine, [*day(0, 60), *day(1, 60), *day(2, 150)])
    report = reports.report(engine, "desk", CONFIG, 7, NOW)
    assert report.reference[2] == 120 and len(report.windows) == 1


def test_no_traffic_says_so(engine):
    for database in (engine, None):
        report = reports.report(database, "desk", CONFIG, 7, NOW)
        assert (report.verdict, report.alarms, report.version) == (reports.NO_TRAFFIC, (), None)
        assert "nobody has asked desk anything yet" in report.words


def reviews(day, wrong, count=80):
    return [
        Review(f"r{day}-{place}", 0, "desk", "s", NOW, START + day * DAY + place, 0.5, "a", "", "right", None)
        if place >= wrong
        else Review(f"r{day}-{place}", 0, "desk", "s", NOW, START + day * DAY + place, 0.5, "a", "", "wrong", "b")
        for place in range(count)
    ]


@pytest.mark.parametrize(("wrong_before", "wrong_now", "is_loss"), [(4, 30, True), (4, 8, False), (30, 30, False)])
def test_a_loss_that_reviewers_found_is_an_alarm_and_a_reason(engine, wrong_before, wrong_now, is_loss):
    served.write(engine, [*day(0), *day(1), *day(2)])
    feedback.draw(engine, [*reviews(0, wrong_before), *reviews(2, wrong_now)])
    report = reports.report(engine, "desk", CONFIG, 7, NOW)
    assert bool(report.alarms) == is_loss == bool(report.retrain)
    assert report.measured.now.n == 80
    if is_loss:
        assert "desk/1 has lost accuracy" in report.alarms[0] and "by what reviewers found" in report.retrain


def test_few_reviews_of_the_reference_are_replaced_by_the_test_rows(engine):
    served.write(engine, [*day(0), *day(1), *day(2)])
    feedback.draw(engine, reviews(2, 30))
    report = reports.report(engine, "desk", CONFIG, 7, NOW)
    assert (report.measured.before.n, report.measured.before.value) == (200, 0.95)
    assert report.retrain


def test_only_the_last_windows_are_compared(engine, monkeypatch):
    monkeypatch.setattr(windows, "LAST", 1)
    served.write(engine, [*day(0), *day(1, label="a"), *day(2, label="a")])
    report = reports.report(engine, "desk", CONFIG, 7, NOW)
    assert [window.start for window in report.windows] == ["1970-01-14T13:46:40+00:00"]


def test_the_verdict_is_a_reason_only_for_the_champion_that_lost_quality(engine, monkeypatch, tmp_path):
    monkeypatch.setattr(verdict_file.backend, "state", lambda: tmp_path)
    assert verdict_file.retrain_reason("desk", "desk/1") is None
    served.write(engine, [*day(0), *day(1), *day(2)])
    feedback.draw(engine, [*reviews(0, 4), *reviews(2, 30)])
    verdict_file.write(reports.report(engine, "desk", CONFIG, 7, NOW), True, None, [])
    assert "has lost accuracy" in verdict_file.retrain_reason("desk", "desk/1")
    assert verdict_file.retrain_reason("desk", "desk/2") is None
    verdict_file.path("desk").write_text("half a")
    assert verdict_file.retrain_reason("desk", "desk/1") is None


def test_the_last_rollout_is_told(engine):
    served.write(engine, day(0))
    assert reports.report(engine, "desk", CONFIG, 2, NOW).rollout is None
    rollout = rollouts.begin(engine, "desk", ("1", "2"), ("shadow", 5, 100), "error", "asked for by Ann", "Ann")
    assert (
        "rollout of desk/2 beside desk/1: running at shadow" in reports.report(engine, "desk", CONFIG, 2, NOW).rollout
    )
    rollouts.change(engine, rollout, "it is worse", state=rollouts.ROLLED_BACK)
    assert reports.report(engine, "desk", CONFIG, 2, NOW).rollout.endswith("it is worse")
