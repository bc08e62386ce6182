"""Approval and rejection by a person, against a real registry and a real history in git."""

import time

import pytest

from retune.errors import Refused, WrongUse
from retune.lineage import history, record
from retune.promotion.gate import Decision
from retune.registry import versions
from tasks.promote import approval, manual
from tasks.promote.gate_decision import promote
from tasks.promote.reconcile import reconcile
from tasks.promote.succession import decided
from tests.support.promotion import (
    ASKED,
    FINE,
    REASONS,
    again,
    agree,
    begin,
    check,
    crowned,
    events_of,
    gate_facts,
    interrupted,
)


def test_a_version_that_waits_is_challenger_and_the_history_says_nothing_yet(awaiting_approval):
    first, second = awaiting_approval
    assert (first.aliases, second.aliases) == (("champion",), ("challenger",))
    assert decided(second) == Decision(False, REASONS, awaiting=True)
    assert crowned(first) == [1]
    assert promote(second, gate_facts(champion=str(first)), ASKED).awaiting


def test_an_approved_version_becomes_champion_and_the_history_tells_on_which_evidence(awaiting_approval):
    _, second = awaiting_approval
    approval.await_approval(second, "0123")
    evidence = approval.read_evidence(again(second), None)
    entry = approval.approve(evidence, "scores look right", check)
    approved, champion = history.read(second.name).entries[-2:]
    assert champion == entry
    assert (approved.event, approved.why, approved.facts["Flow-run"]) == ("approved", ("scores look right",), "0123")
    assert approved.facts["Evidence"] == evidence.sha256
    assert (champion.event, champion.version, champion.facts["How"]) == ("champion", 2, "promoted")
    assert again(second).aliases == ("champion",)
    assert decided(again(second)).promote
    assert "approved by" in decided(again(second)).reasons[-1]
    assert approval.awaited_by("0123") == again(second)
    with pytest.raises(Refused, match="is not waiting for an answer: it became champion"):
        approval.approve(approval.read_evidence(again(second), None), "again", check)


def test_a_rejected_version_is_challenger_no_more(awaiting_approval):
    first, second = awaiting_approval
    entry = approval.reject(approval.read_evidence(second, None), "one queue is worse")
    assert (entry.event, entry.version, entry.why) == ("rejected", 2, ("one queue is worse",))
    assert (again(first).aliases, again(second).aliases) == (("champion",), ())
    assert not decided(again(second)).promote
    assert not promote(again(second), gate_facts(champion=str(first)), ASKED).promote
    assert reconcile(first.name) == []
    with pytest.raises(Refused, match=r"it was rejected; `retune promote"):
        approval.approve(approval.read_evidence(again(second), None), "no, yes", check)
    manual.promote_manually(again(second), "no, yes", check)
    assert again(second).aliases == ("champion",)
    assert reconcile(first.name) == []


def test_an_approval_of_other_evidence_is_refused(awaiting_approval):
    _, second = awaiting_approval
    evidence = approval.read_evidence(second, None)
    assert approval.read_evidence(second, evidence.sha256[:12]) == evidence
    with pytest.raises(Refused, match="look at it again"):
        approval.read_evidence(second, "0" * 64)
    with pytest.raises(WrongUse, match="12 digits or more"):
        approval.read_evidence(second, "yes")
    path = versions.version_folder(second) / record.FILE
    path.write_text(path.read_text().replace("tickets", "tockets"))
    with pytest.raises(Refused, match="is not what was registered"):
        approval.approve(approval.read_evidence(second, None), "why", check)
    assert crowned(second) == [1]


def test_an_approval_after_the_champion_changed_is_refused(awaiting_approval, register_version):
    _, second = awaiting_approval
    third = register_version()
    manual.promote_manually(third, "quicker", check)
    with pytest.raises(Refused, match=f"the champion is {third} now"):
        approval.approve(approval.read_evidence(second, None), "why", check)
    approval.reject(approval.read_evidence(second, None), "too late")
    assert again(third).aliases == ("champion",)


def test_only_what_waits_is_approved_or_rejected_and_what_waits_is_not_promoted_by_hand(
    awaiting_approval, register_version
):
    _, second = awaiting_approval
    third = register_version()
    for answer in (
        lambda evidence: approval.approve(evidence, "why", check),
        lambda evidence: approval.reject(evidence, "why"),
    ):
        with pytest.raises(Refused, match="nothing was decided about it yet"):
            answer(approval.read_evidence(third, None))
    with pytest.raises(Refused, match="waiting for an answer"):
        manual.promote_manually(second, "why", check)


def test_who_rejects_while_another_approves_is_obeyed(awaiting_approval):
    first, second = awaiting_approval

    def meanwhile(version):
        approval.reject(approval.read_evidence(again(version), None), "one queue is worse")
        return FINE

    with pytest.raises(Refused, match="is not waiting for an answer: it was rejected"):
        approval.approve(approval.read_evidence(second, None), "looks right", meanwhile)
    assert events_of(second) == ["registered", "rejected"]
    assert (again(first).aliases, again(second).aliases) == (("champion",), ())
    assert reconcile(first.name) == []
    agree(first.name)


def test_who_rejects_is_obeyed_also_if_he_was_killed_before_the_tag(awaiting_approval, monkeypatch):
    first, second = awaiting_approval

    def meanwhile(version):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(versions, "tag_version", interrupted)
            approval.reject(approval.read_evidence(again(version), None), "one queue is worse")
        return FINE

    with pytest.raises(Refused, match="is not waiting for an answer: it was rejected"):
        approval.approve(approval.read_evidence(second, None), "looks right", meanwhile)
    assert events_of(second) == ["registered", "rejected"]
    reconcile(first.name)
    agree(first.name)


def test_who_waits_to_reject_while_another_approves_is_told_that_it_is_champion(awaiting_approval):
    """He has looked, the approval has the lock, and then it is his turn."""
    first, second = awaiting_approval
    evidence = approval.read_evidence(second, None)
    approval.approve(approval.read_evidence(second, None), "looks right", check)
    with pytest.raises(Refused, match="is not waiting for an answer: it became champion"):
        approval.reject(evidence, "one queue is worse")
    assert events_of(second) == ["registered", "approved", "champion"]
    assert decided(again(second)).promote
    assert reconcile(first.name) == []
    agree(first.name)


@pytest.mark.parametrize("answer", ["approve", "reject"])
def test_of_a_second_answer_that_waits_for_the_lock_nothing_is_written(awaiting_approval, answer, tmp_path):
    """In a process of its own, which has looked at the version before the first answer and comes after it."""
    _, second = awaiting_approval
    with history.writing():
        late = begin(answer, second, LOOKED=str(tmp_path / "looked"))
        while not (tmp_path / "looked").exists():
            assert late.poll() is None, late.communicate()[1]
            time.sleep(0.02)
        approval.reject(approval.read_evidence(second, None), "one queue is worse")
        before = events_of(second)
    complaint = late.communicate()[1]
    assert late.returncode and "is not waiting for an answer: it was rejected" in complaint
    assert events_of(second) == before == ["registered", "rejected"]
