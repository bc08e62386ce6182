"""What the scheduled monitor tells people, what it opens, and what it writes down."""

from dataclasses import replace

import numpy as np
import pytest

from flows import monitor
from retune.config import params
from retune.evaluation.review_files import lines
from retune.serving import feedback
from tasks.monitor import report as reports
from tasks.monitor import run_log, verdict_file
from tasks.monitor.windows import VersionFacts
from tests.support import served
from tests.support.environment import ROOT
from tests.support.served import DAY, START, day

NOW = START + 3 * DAY


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verdict_file.backend, "state", lambda: tmp_path)
    facts = VersionFacts(frozenset({"parcel"}), np.arange(200) < 190, np.linspace(0.7, 1, 200))
    monkeypatch.setattr(reports, "version_facts", lambda name, version: facts)
    monkeypatch.setattr(run_log, "log_windows", lambda report, logged: report.end)
    whole = params.load(ROOT / "params.yaml")
    section = replace(whole.monitor, reference_hours=24.0, review_rows=5)
    return replace(whole, register=replace(whole.register, name="desk"), monitor=section)


@pytest.fixture
def engine(config, tmp_path):
    return served.database_in(tmp_path)


class People:
    """Who hear of it, if a channel is there."""

    def __init__(self):
        self.messages, self.is_there = [], True

    def __call__(self, event, title, body):
        self.messages.append((event, title, body))
        return self.is_there


def test_people_hear_once_of_an_alarm_and_once_that_it_is_over(config, engine):
    people = People()
    served.write(engine, [*day(0), *day(1, label="a"), *day(2, label="a"), *day(3), *day(4)])
    for now in (START + 2.5 * DAY, NOW, NOW + 600):
        monitor.watch(config, engine, now, people)
    assert [event for event, *_ in people.messages] == ["unhealthy"]
    assert "has changed, two windows in a row" in people.messages[0][2]
    assert verdict_file.read("desk")["logged"]
    for now in (START + 5 * DAY, START + 5 * DAY + 600):
        monitor.watch(config, engine, now, people)
    assert [event for event, *_ in people.messages] == ["unhealthy", "recovered"]


def test_what_nobody_heard_is_told_again(config, engine):
    people = People()
    people.is_there = False
    served.write(engine, [*day(0), *day(1, label="a"), *day(2, label="a")])
    for _ in range(3):
        monitor.watch(config, engine, NOW, people)
    assert [event for event, *_ in people.messages] == ["unhealthy"] * 3
    assert len({body for *_, body in people.messages}) == 1, "with the same sheet"
    assert len(feedback.reviews(engine, "desk")) == 2, "each text once"


def test_an_alarm_hands_the_texts_that_moved_most_to_reviewers(config, engine, tmp_path):
    people = People()
    served.write(engine, [*day(0), *day(1, label="a"), *day(2, label="a", text="where is my {}")])
    rows = served.day(2, label="a")
    served.write(engine, [replace(row, text=f"text {place}", request_id=f"x{place}") for place, row in enumerate(rows)])
    monitor.watch(config, engine, NOW, people)
    assert "5 texts that moved most wait for reviewers" in people.messages[0][2]
    drawn = feedback.reviews(engine, "desk")
    assert len(drawn) == 5 and {review.chance for review in drawn} == {None}
    (sheet,) = (tmp_path / "review").glob("*.csv")
    assert len(lines(sheet, frozenset({"id"}), "x")) == 5


def test_where_no_text_is_kept_the_message_says_so(config, engine):
    people = People()
    served.write(engine, [*day(0), *day(1, label="a"), *day(2, label="a")], text="none")
    monitor.watch(config, engine, NOW, people)
    assert "No text is kept that reviewers could look at" in people.messages[0][2]
    assert feedback.reviews(engine, "desk") == []


def test_without_traffic_nobody_is_told_anything(config):
    people = People()
    report = monitor.watch(config, None, NOW, people)
    assert (report.verdict, people.messages) == (reports.NO_TRAFFIC, [])
    assert verdict_file.read("desk")["alarms"] == []


def test_each_week_some_answers_wait_for_reviewers(config, engine, tmp_path):
    rows = [served.answer(number=number, time=START + number * DAY / 20, model="desk") for number in range(160)]
    served.write(engine, rows)
    people, titles = People(), {}
    for days in (6, 8, 9, 16):
        monitor.watch(config, engine, START + days * DAY, people)
        titles[days] = [title for event, title, _ in people.messages if event == "awaiting"]
    only = ["50 answers of desk wait for reviewers"]
    assert titles == {6: [], 8: only, 9: only, 16: only}, "nobody has asked anything in the second week"
    assert len(list((tmp_path / "review").glob("feedback-*.csv"))) >= 1
