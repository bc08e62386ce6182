"""A rollout from its start to its end: looks at a log in a real database, against a real registry and history."""

import time
from dataclasses import replace

import pytest

from flows import rollout as flow
from retune.config import params
from retune.errors import Refused
from retune.lineage import history
from retune.registry import versions
from retune.serving import database, rollouts
from tasks.promote import gate_decision, manual
from tasks.rollout import evidence, requests
from tests.support import promotion
from tests.support import rollout_traffic as traffic
from tests.support.environment import ROOT

SHIPPED = params.load(ROOT / "params.yaml")
CONFIG = replace(SHIPPED, rollout=replace(SHIPPED.rollout, min_requests=50, min_minutes=0.0))
STEPS = ("shadow", 5, 100)


class Served:
    """A champion and a candidate that are served, and what their answers are."""

    def __init__(self, candidate, people):
        self.candidate, self.people, self.engine = candidate, people, database.connect()
        self.number = 0

    def start(self, steps=STEPS):
        return requests.start(self.engine, self.candidate, steps, "error", "better on refunds")

    def answers(self, candidate, champion):
        """(answers, errors) of each, at this step."""
        current = rollouts.latest(self.engine, self.candidate.name)
        arm, rows = evidence.candidate_arm(current, current.place), []
        for side, version, (count, errors) in (
            (arm, current.challenger, candidate),
            ("champion", current.champion, champion),
        ):
            for place in range(count):
                error = "failed" if place < errors else ""
                changes = {"version": version, "model": self.candidate.name}
                rows.append(traffic.answer(side, self.number, current.times[-1] + 0.001, error, **changes))
                self.number += 1
        traffic.log(self.engine, rows)

    def look(self, config=CONFIG):
        return flow.look(self.candidate.name, config, flow.carry_out)

    def moves(self):
        entries = history.read(self.candidate.name).entries
        return [each.move for each in entries if each.event == history.ROLLOUT]


@pytest.fixture
def service(sqlite_registry, register_tiny, tmp_path, monkeypatch, request):
    monkeypatch.setenv(database.ADDRESS, f"sqlite:///{tmp_path / 'serving.db'}")
    monkeypatch.setattr(evidence, "LAG", -60.0)  # nobody waits for a minute to be over
    monkeypatch.setattr(manual, "fit_to_serve", lambda version, *_: promotion.check(version))
    people = []
    monkeypatch.setattr(
        flow.notifications, "notify_people", lambda event, title, body, _: people.append((event, title))
    )
    return Served(traffic.champion_and_candidate(sqlite_registry, register_tiny, request.node.name), people)


def champion_of(service):
    return versions.champion(service.candidate.name).version


def test_a_healthy_one_goes_through_its_steps_and_becomes_champion(service):
    service.start()
    assert "no traffic since the rollout began" in service.look()[1]
    for _ in STEPS:
        service.answers((1000, 0), (1000, 0))
        current, sentence = service.look()
    assert current.state == rollouts.COMPLETED and sentence.startswith("complete: ")
    assert service.moves() == ["start", "advance", "advance", "complete"]
    assert champion_of(service) == 2
    assert service.people == [("promoted", f"{service.candidate}: promoted")]
    assert service.look()[0] == current and service.moves()[-1] == "complete"


def test_a_bad_one_is_rolled_back_and_people_hear_of_it(service):
    service.start()
    service.answers((100, 0), (100, 0))
    service.look()
    service.answers((40, 20), (100, 1))
    current, sentence = service.look()
    assert (current.state, current.split) == (rollouts.ROLLED_BACK, None)
    assert "is worse than" in sentence and service.moves() == ["start", "advance", "roll back"]
    assert '"worse"' in history.read(service.candidate.name).last.facts["Figures"]
    assert champion_of(service) == 1
    assert service.people == [("rolled_back", f"{service.candidate} was rolled back")]


@pytest.mark.slow
def test_a_bad_one_that_somebody_promoted_meanwhile_gives_its_place_back(service):
    service.start()
    service.answers((40, 20), (100, 1))
    manual.promote_manually(service.candidate, "in a hurry", promotion.check)
    service.look()
    assert champion_of(service) == 1
    entry = history.read(service.candidate.name).champion()
    assert (entry.how, entry.version) == ("rollback", 1)


@pytest.mark.slow
def test_a_flow_that_was_killed_between_table_and_history_goes_on(service, monkeypatch):
    service.start()
    service.answers((100, 0), (100, 0))
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(flow.journal, "note", promotion.interrupted)
        service.look()
    current, _ = service.look()
    assert current.step == 5 and service.moves() == ["start", "advance"]


@pytest.mark.slow
def test_a_rollout_ends_when_the_champion_is_another_one(service, register_tiny):
    service.start()
    manual.promote_manually(register_tiny(service.candidate.name), "a third", promotion.check)
    current, sentence = service.look()
    assert current.state == rollouts.ABORTED and "/3 now, not" in sentence
    assert service.moves() == ["start", "abort"]


@pytest.mark.slow
def test_one_that_cannot_become_champion_is_paused_and_says_why(service, monkeypatch):
    def refuse(*_):
        raise Refused("its files are not what was registered")

    service.start(steps=(50,))
    service.answers((1000, 0), (1000, 0))
    monkeypatch.setattr(manual, "fit_to_serve", refuse)
    current, _ = service.look()
    assert current.state == rollouts.PAUSED and "its files are not what was registered" in current.reason
    assert (champion_of(service), service.people[-1][0]) == (1, "held")


@pytest.mark.slow
def test_one_that_waits_for_approval_is_approved_at_its_end(service, register_tiny):
    waiting = register_tiny(service.candidate.name, champion=f"{service.candidate.name}/1")
    gate_decision.promote(waiting, promotion.gate_facts(champion=f"{waiting.name}/1"), promotion.ASKED)
    service.candidate = promotion.again(waiting)
    flow.refuse_stale(service.candidate)
    service.start(steps=(50,))
    service.answers((1000, 0), (1000, 0))
    service.look()
    assert champion_of(service) == 3
    assert history.read(waiting.name).answer(3).event == history.APPROVED


@pytest.mark.slow
def test_the_flow_looks_until_the_rollout_has_ended(service, monkeypatch, prefect_url):
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    monkeypatch.setattr(flow.environment, "activate_project", lambda: None)
    quick = replace(CONFIG, rollout=replace(CONFIG.rollout, look_seconds=0.1))
    monkeypatch.setattr(flow.params, "load", lambda: quick)
    service.start(steps=(50,))
    service.answers((40, 20), (100, 1))
    began = time.monotonic()
    assert flow.run(service.candidate.name, once=False).state == rollouts.ROLLED_BACK
    assert time.monotonic() - began < 120
