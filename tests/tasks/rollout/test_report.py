"""What there is to say of a rollout, and its page."""

import json

import pytest

from retune.documents import rollout_page
from retune.serving import rollouts
from tasks.rollout import report
from tests.support import rollout_traffic as traffic
from tests.support import served
from tests.support.answerers import SETTINGS
from tests.support.rollout_traffic import BEGAN


@pytest.fixture
def engine(tmp_path):
    return served.database_in(tmp_path)


@pytest.fixture
def rollout(engine):
    current = traffic.begin(engine, place=1)
    traffic.traffic(engine, current.times[1], 3, (100, 1), (200, 2))
    stars = [5.0 if number % 300 >= 100 else 3.0 + number % 2 for number in range(900)]
    traffic.rate(engine, stars, "stars")
    return current


def describe(engine, rollout, now=BEGAN + 2 * 3600):
    return report.describe(engine, rollout, SETTINGS, now)


def test_both_versions_stand_beside_each_other_with_intervals(engine, rollout):
    challenger, champion = describe(engine, rollout)["arms"][0], describe(engine, rollout)["arms"][1]
    assert (challenger["arm"], challenger["requests"], challenger["errors"]) == ("challenger", 300, 3)
    value, low, high = champion["error_share"]
    assert (champion["requests"], value) == (600, 0.01) and low < value < high < 0.05
    assert champion["latency_ms"][0] == pytest.approx(12.0)


def test_an_outcome_is_compared_whole_and_in_each_segment(engine, rollout):
    outcomes = {each["segment"]: each for each in describe(engine, rollout)["outcomes"]}
    assert set(outcomes) == {"all", "label shipping", "up to 100 characters"}
    assert outcomes["all"]["challenger"]["mean"][0] == 3.5 and outcomes["all"]["champion"]["mean"][0] == 5.0
    value, _, high = outcomes["all"]["difference"]
    assert value == -1.5 and high < 0
    assert json.dumps(outcomes)  # no infinity


def test_without_traffic_it_says_so_and_never_that_all_is_well(engine):
    facts = describe(engine, traffic.begin(engine))
    assert facts["arms"] == facts["outcomes"] == []
    assert facts["last_request"] is None and facts["next"].startswith("no traffic since the rollout began")
    assert "No request has come since it began." in rollout_page.render(facts)


def test_the_page_shows_hostile_words_as_words(engine, rollout):
    after = rollouts.change(engine, rollout, "<script>alert(1)</script>", state=rollouts.PAUSED)
    page = rollout_page.render(describe(engine, after))
    assert "&lt;script&gt;" in page and "<script" not in page
    assert page.count("<tr>") == 3 + 1 + 2 + 3  # heads, the comparison, arms, outcomes
