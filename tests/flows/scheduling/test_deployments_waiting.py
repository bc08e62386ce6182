"""Which version a suspended run waits for, in the list of runs."""

import pytest

from flows.retraining import approval
from flows.scheduling import deployments
from retune.errors import Broken
from retune.registry.version import Version

RUN = {
    "id": "r",
    "name": "tame-heron",
    "state_type": "PAUSED",
    "state_name": "Suspended",
    "state": {"message": "suspended"},
    "parameters": {"because": "the desk asked"},
    "expected_start_time": "2026-01-05T02:00:00+00:00",
    "start_time": None,
    "end_time": None,
}
VERSION = Version("classifier", 4, "run", "2026-01-01", (), {"decision": "awaiting"})


@pytest.fixture
def waits_for(monkeypatch):
    def line(answer):
        monkeypatch.setattr(approval, "asked_about", answer)
        return deployments._ran(RUN)

    return line


def test_a_suspended_run_names_the_version_that_waits_for_approval(waits_for):
    run = waits_for(lambda _: VERSION)
    assert (run.state, run.version) == ("suspended, waits for approval of classifier/4", "classifier/4")


def test_a_version_that_was_answered_waits_no_more(waits_for):
    rejected = Version("classifier", 4, "run", "2026-01-01", (), {"decision": "rejected"})
    assert [waits_for(lambda _, answer=answer: answer).version for answer in (None, rejected)] == [None, None]


def test_a_registry_that_does_not_answer_is_said(waits_for):
    def refuse(_):
        raise Broken("MLflow is down")

    run = waits_for(refuse)
    assert run.state == "suspended, waits for approval" and run.says == "its version cannot be read: MLflow is down"
