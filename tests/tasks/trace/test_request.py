"""What answered a request, beside the history as it was when the request came."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from flows.cli import lineage
from flows.project import environment
from retune.errors import Refused
from retune.lineage import history
from retune.serving import database, feedback
from retune.serving.feedback import Feedback, Review
from tasks.trace import request
from tests.support import served
from tests.support.git_repo import git
from tests.support.histories import FACTS

START = 1_800_000_000
SEAL = FACTS["Seal"]


@pytest.fixture
def engine(git_repository, monkeypatch):
    monkeypatch.setenv(database.ADDRESS, f"sqlite:///{git_repository}/serving.db")
    return database.connect()


@pytest.fixture
def entries(git_repository):
    """Version 1, approved and champion; version 2, that takes its place. A minute between two."""
    commit = git("rev-parse", "HEAD")
    steps = [
        (1, history.REGISTERED),
        (1, history.APPROVED),
        (1, history.CHAMPION),
        (2, history.REGISTERED),
        (2, history.CHAMPION),
        (1, history.REJECTED),
    ]
    for number, (version, event) in enumerate(steps):
        at = datetime.fromtimestamp(START + 60 * number, UTC)
        facts = {"Record": commit, **FACTS}
        history.append("desk", version, event, [f"because of {number}"], facts, lambda chain: None, at)
    return commit


def test_a_request_leads_to_the_data_the_code_and_who_let_the_version_serve(engine, entries):
    served.write(engine, [served.answer("late", time=START + 150.5, seal=SEAL), served.answer(position=1, seal=SEAL)])
    part, other = request.trace("r0")
    assert (part.version, part.arm, part.at) == ("desk/1", "champion", "2027-01-15T08:02:30.500+00:00")
    assert [(answer["label"], answer["text"]) for answer in part.answers] == [("shipping", "late")]
    origin = part.origin
    assert (origin.commit, origin.evidence, origin.data) == (entries, FACTS["Evidence"], {"train": FACTS["Train"]})
    assert origin.seal_holds
    assert origin.approved.why == ("because of 1",) and origin.approved.by == "A. Tester <tester@example.com>"
    assert origin.champion.why == ("because of 2",)
    assert origin.until == datetime.fromtimestamp(START + 240, UTC).isoformat()
    assert other.origin.champion is None and other.origin.approved is None, "nobody had decided yet"


def test_what_was_decided_after_the_request_does_not_count(engine, entries):
    served.write(engine, [served.answer(time=START + 400.0, seal=SEAL)])
    (part,) = request.trace("r0")
    assert (part.origin.approved, part.origin.champion) == (None, None), "rejected and replaced by then"
    served.write(engine, [served.answer(number=1, time=START + 90.0, seal=SEAL, arm="challenger")])
    (part,) = request.trace("r1")
    assert part.origin.approved and not part.origin.champion


def test_a_request_that_the_log_does_not_know_is_refused(engine, monkeypatch, git_repository):
    with pytest.raises(Refused, match=r"no request 'nothing'.*serve\.log\.days"):
        request.trace("nothing")
    monkeypatch.delenv(database.ADDRESS)
    with pytest.raises(Refused, match="nothing was served here"):
        request.trace("nothing")


@pytest.mark.parametrize(("row", "code"), [({}, 0), ({"seal": "b" * 64}, 1), ({"version": "9"}, 1)])
def test_a_version_of_another_seal_or_none_of_the_history_ends_with_code_1(engine, entries, monkeypatch, row, code):
    monkeypatch.setattr(environment, "activate_project", lambda: None)
    served.write(engine, [served.answer(**{"time": START + 200.0, "seal": SEAL, **row})])
    done = CliRunner().invoke(lineage.lineage, ["request", "r0"])
    assert (Refused.exit_code if isinstance(done.exception, Refused) else 0) == code
    assert "shipping (0.900, auto)" in done.output
    if not row:
        assert "by its entry, 2027-01-15T08:02:00+00:00 by A. Tester" in done.output


def test_what_people_and_reviewers_say_stands_beside_the_answer(engine, entries, monkeypatch):
    served.write(engine, [served.answer(time=START, seal=SEAL, position=place) for place in (0, 1)])
    feedback.add(engine, Feedback("r0", 0, "person", START + 1, label="refunds", note="no"), 60)
    drawn = Review("r0", 0, "desk", "sheet", START + 2, START, 0.5, "shipping", "0" * 64)
    feedback.draw(engine, [drawn])
    feedback.judge(engine, [replace(drawn, verdict="wrong", label="refunds", reviewers="Ada")])
    feedback.mark_ingested(engine, [drawn.key])
    monkeypatch.setattr(environment, "activate_project", lambda: None)
    (part,) = request.trace("r0")
    assert [piece["label"] for piece in part.answers[0]["feedback"]] == ["refunds"]
    assert part.answers[0]["review"] == {
        "verdict": "wrong", "label": "refunds", "reviewers": "Ada", "row": "request:r0:0",
    }  # fmt: skip
    assert part.answers[1]["review"] is None
    lines = CliRunner().invoke(lineage.request, ["r0"]).output
    assert "text 1, person person: label refunds, note no" in lines
    assert "text 1: wrong by Ada; row request:r0:0" in lines
