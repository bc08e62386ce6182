"""Against a real registry and a real history in git."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from retune.config import params
from retune.data import suppression
from retune.errors import Refused, WrongUse
from retune.lineage import history, record
from retune.promotion.gate import Decision
from retune.registry import backend, reload_check, runs, versions
from retune.system import dvc_store, failpoints
from tasks.promote import approval, manual, succession
from tasks.promote.gate_decision import promote
from tasks.promote.reconcile import reconcile
from tasks.promote.succession import decided

SHIPPED = params.load(Path(__file__).parents[3] / "params.yaml").promote
ASKED = replace(SHIPPED, approval=True)
REASONS = ("beats the base", "beats the champion")
FINE = {"Checked": "64 test rows, confidence off by 0 at most"}


def told(decision="champion", champion=None):
    """As much of a record as the gate needs."""
    return {"gate": {"decision": decision, "champion": champion, "rivals": [{"reason": reason} for reason in REASONS]}}


def check(version):
    versions.checked_folder(version)
    return FINE


@pytest.fixture
def make(sqlite_registry, register_tiny, request):
    """Registers a version with a whole record; its first entry stands in the history and it was loaded again."""
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", "commit", "-q", "--allow-empty", "-m", "record"], check=True, env=AUTHOR)
    name = re.sub(r"\W+", "-", request.node.name)[-80:].strip("-")
    return lambda **gate: register_tiny(name, **gate)


AUTHOR = {
    "PATH": "/usr/bin:/bin",
    **{f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


def again(version):
    return versions.find(version.name, version=version.version)


def crowned(version):
    return [entry.version for entry in history.read(version.name).entries if entry.event == history.CHAMPION]


def test_a_promoted_version_is_champion_and_challenger_no_more(make):
    version = make()
    assert decided(version) is None
    for _ in range(2):  # a crash in between repeats it
        assert promote(version, told(), SHIPPED).promote
    assert again(version).aliases == ("champion",)
    assert decided(again(version)) == Decision(True, REASONS)
    assert crowned(version) == [1]
    assert versions.heads()[version.name] == history.read(version.name).last.head


def test_a_held_version_stays_challenger_and_remembers_why(make):
    version = make()
    promote(version, told("held"), SHIPPED)
    assert again(version).aliases == ("challenger",)
    assert decided(again(version)) == Decision(False, REASONS)
    assert crowned(version) == []


def test_a_version_that_was_found_worse_is_remembered_as_such_with_every_reason(make):
    version, made = make(), told("held")
    made["gate"] |= {"worse": True, "reasons": [*REASONS, "label bills -0.2000 on 100 rows"]}
    promote(version, made, SHIPPED)
    assert decided(again(version)) == Decision(False, (*REASONS, "label bills -0.2000 on 100 rows"), worse=True)


def test_a_crash_between_the_history_and_the_alias_is_carried_on(make, monkeypatch):
    version = make()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(versions, "set_alias", interrupted)
        promote(version, told(), SHIPPED)
    assert (again(version).aliases, crowned(version)) == (("challenger",), [1])
    promote(version, told(), SHIPPED)
    assert (again(version).aliases, crowned(version)) == (("champion",), [1])


def interrupted(*_):
    raise KeyboardInterrupt


def test_nobody_is_promoted_over_a_champion_that_he_was_not_compared_with(make):
    first, second, third = make(), make(), make()
    promote(first, told(), SHIPPED)
    promote(second, told(champion=str(first)), SHIPPED)
    held = promote(third, told(champion=str(first)), SHIPPED)
    assert not held.promote
    assert f"the champion is {second} now, not {first}" in held.reasons[-1]
    assert versions.champion(first.name).version == second.version
    assert crowned(first) == [1, 2]


def test_the_reasons_of_a_decision_keep_their_order(make):
    version = make()
    many = {"gate": {**told()["gate"], "rivals": [{"reason": f"reason {number}"} for number in range(12)]}}
    promote(version, many, SHIPPED)
    assert decided(again(version)).reasons == tuple(f"reason {number}" for number in range(12))


# ---------------------------------------------------------------- by hand, and back


def entry_of(version):
    return history.read(version.name).last


def test_a_person_may_promote_what_the_gate_held(make):
    first, second = make(), make()
    promote(first, told(), SHIPPED)
    promote(second, told("held", str(first)), SHIPPED)
    entry = manual.promote_manually(again(second), "the new queue needs it", check)
    assert (entry.event, entry.facts["How"], entry.why) == ("champion", "by hand", ("the new queue needs it",))
    assert entry.facts["Checked"] == FINE["Checked"]
    assert again(second).aliases == ("champion",)
    assert again(first).aliases == ()
    reasons = decided(again(second)).reasons
    assert reasons[:2] == REASONS
    assert reasons[2].startswith("by hand, ")
    assert reasons[2].endswith("the new queue needs it")


def test_what_is_champion_already_is_not_promoted_again(make):
    version = make()
    promote(version, told(), SHIPPED)
    with pytest.raises(Refused, match="is champion already"):
        manual.promote_manually(again(version), "why", check)
    assert crowned(version) == [1]


def test_a_damaged_version_is_not_promoted(make):
    version = make()
    (versions.version_folder(version) / "MLmodel").write_text("{ }")
    with pytest.raises(Refused, match="is not what was registered"):
        manual.promote_manually(version, "why", check)
    assert again(version).aliases == ("challenger",)
    assert crowned(version) == []


def test_a_version_that_no_history_knows_is_not_promoted(make, tmp_path):
    version = make()
    with runs.run(version.name, "run", {}) as run_id:
        stray = versions.add_version(version.name, run_id, tmp_path, {})
    with pytest.raises(Refused, match="has no entry in the history"):
        manual.promote_manually(stray, "why", check)


def test_a_champion_that_changed_while_a_version_was_checked_stops_a_promotion(make):
    first, second = make(), make()
    promote(first, told(), SHIPPED)

    def meanwhile(_):
        manual.promote_manually(third, "quicker", check)
        return FINE

    third = make()
    with pytest.raises(Refused, match=f"the champion is {third} now, no longer {first}"):
        manual.promote_manually(second, "why", meanwhile)
    assert crowned(first) == [1, 3]


def test_a_rollback_goes_back_one_champion_at_a_time_and_never_to_what_was_rolled_back(make):
    made = [make() for _ in range(3)]
    for before, version in zip([None, *made], made, strict=False):
        promote(version, told(champion=before and str(before)), SHIPPED)
    name = made[0].name
    assert manual.roll_back(name, None, "worse", check).version == 2
    entry = manual.roll_back(name, None, "worse too", check)
    assert (entry.version, entry.facts["How"], entry.why) == (1, "rollback", ("worse too",))
    with pytest.raises(Refused, match="had no champion before"):
        manual.roll_back(name, None, "worse still", check)
    assert again(made[0]).aliases == ("champion",)
    assert manual.roll_back(name, 3, "it was not so bad", check).version == 3
    assert manual.roll_back(name, None, "it was", check).version == 1
    assert crowned(made[0]) == [1, 2, 3, 2, 1, 3, 1]


def test_a_rollback_says_in_words_why_it_cannot(make):
    first, second = make(), make()
    name = first.name
    with pytest.raises(Refused, match="has no champion"):
        manual.roll_back(name, None, "why", check)
    promote(first, told(), SHIPPED)
    for number, words in (
        (1, "is champion already"),
        (2, "never was champion"),
        (9, "no version that the history knows"),
    ):
        with pytest.raises(Refused, match=words):
            manual.roll_back(name, number, "why", check)
    manual.promote_manually(second, "why", check)
    backend.client().delete_model_version(name, "1")
    for number in (1, None):
        with pytest.raises(Refused, match=r"has deleted it|had no champion before"):
            manual.roll_back(name, number, "why", check)


def test_a_crash_before_the_tags_does_not_undo_a_rollback(make, monkeypatch):
    """The run that was killed is run again, after a person has gone back from what it had promoted."""
    first, second = make(), make()
    promote(first, told(), SHIPPED)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(versions, "tag_version", interrupted)
        promote(second, told(champion=str(first)), SHIPPED)
    manual.roll_back(first.name, None, "worse", check)
    assert not promote(second, told(champion=str(first)), SHIPPED).promote
    assert again(first).aliases == ("champion",)


@pytest.fixture
def forgotten(make, monkeypatch, tmp_path):
    """A version that learned from row r1, which is on the list of those that must not be learned from."""
    listed = suppression.add(suppression.NOTHING, ["r1"], "asked", "me", "2026-01-01")
    rows = {"train": ["r0", "r1"], "val": ["r2"]}
    monkeypatch.setattr(suppression, "read", lambda: listed)
    made = record.read(versions.version_folder(version := make()) / record.FILE)
    for side, ids in rows.items():
        pd.DataFrame({"id": ids}).to_parquet(tmp_path / side)
    known = {made["data"]["sides"][side]["md5"]: tmp_path / side for side in rows}
    monkeypatch.setattr(dvc_store, "parquet", lambda md5: known[md5] if known else lost(md5))
    monkeypatch.setattr(reload_check, "says_the_same", lambda *_: "fine")
    return version, known


def lost(md5):
    raise dvc_store.MissingBytes(f"bytes gone, hash kept: {md5}")


def test_what_learned_from_a_forgotten_row_serves_only_on_demand(forgotten):
    version, known = forgotten
    with pytest.raises(Refused, match=r"1 row it learned from must not be .*--even-forgotten"):
        manual.fit_to_serve(version, None, even_forgotten=False)
    assert manual.fit_to_serve(version, None, even_forgotten=True) == {
        "Checked": "fine",
        "Forgotten": "1 row it learned from must not be learned from any more",
    }
    known.clear()
    with pytest.raises(Refused, match="nobody can say whether it learned from a row"):
        manual.fit_to_serve(version, None, even_forgotten=False)


# ---------------------------------------------------------------- approval


@pytest.fixture
def waiting(make):
    """The champion, and a version that waits for a person to say that it takes its place."""
    first = make()
    promote(first, told(), SHIPPED)
    second = make(champion=str(first))
    decision = promote(second, told(champion=str(first)), ASKED)
    assert (decision.promote, decision.awaiting) == (False, True)
    return again(first), again(second)


def test_a_version_that_waits_is_challenger_and_the_history_says_nothing_yet(waiting):
    first, second = waiting
    assert (first.aliases, second.aliases) == (("champion",), ("challenger",))
    assert decided(second) == Decision(False, REASONS, awaiting=True)
    assert crowned(first) == [1]
    assert promote(second, told(champion=str(first)), ASKED).awaiting


def test_an_approved_version_becomes_champion_and_the_history_tells_on_which_evidence(waiting):
    _, second = waiting
    approval.await_approval(second, "0123")
    seen = approval.read_evidence(again(second), None)
    entry = approval.approve(seen, "scores look right", check)
    approved, champion = history.read(second.name).entries[-2:]
    assert champion == entry
    assert (approved.event, approved.why, approved.facts["Flow-run"]) == ("approved", ("scores look right",), "0123")
    assert approved.facts["Evidence"] == seen.sha256
    assert (champion.event, champion.version, champion.facts["How"]) == ("champion", 2, "promoted")
    assert again(second).aliases == ("champion",)
    assert decided(again(second)).promote
    assert "approved by" in decided(again(second)).reasons[-1]
    assert approval.awaited_by("0123") == again(second)
    with pytest.raises(Refused, match="is not waiting for an answer: it became champion"):
        approval.approve(approval.read_evidence(again(second), None), "again", check)


def test_a_rejected_version_is_challenger_no_more(waiting):
    first, second = waiting
    entry = approval.reject(approval.read_evidence(second, None), "one queue is worse")
    assert (entry.event, entry.version, entry.why) == ("rejected", 2, ("one queue is worse",))
    assert (again(first).aliases, again(second).aliases) == (("champion",), ())
    assert not decided(again(second)).promote
    assert not promote(again(second), told(champion=str(first)), ASKED).promote
    assert reconcile(first.name) == []
    with pytest.raises(Refused, match=r"it was rejected; `retune promote"):
        approval.approve(approval.read_evidence(again(second), None), "no, yes", check)
    manual.promote_manually(again(second), "no, yes", check)
    assert again(second).aliases == ("champion",)
    assert reconcile(first.name) == []


def test_an_approval_of_other_evidence_is_refused(waiting):
    _, second = waiting
    seen = approval.read_evidence(second, None)
    assert approval.read_evidence(second, seen.sha256[:12]) == seen
    with pytest.raises(Refused, match="look at it again"):
        approval.read_evidence(second, "0" * 64)
    with pytest.raises(WrongUse, match="12 digits or more"):
        approval.read_evidence(second, "yes")
    path = versions.version_folder(second) / record.FILE
    path.write_text(path.read_text().replace("tickets", "tockets"))
    with pytest.raises(Refused, match="is not what was registered"):
        approval.approve(approval.read_evidence(second, None), "why", check)
    assert crowned(second) == [1]


def test_an_approval_after_the_champion_changed_is_refused(waiting, make):
    _, second = waiting
    third = make()
    manual.promote_manually(third, "quicker", check)
    with pytest.raises(Refused, match=f"the champion is {third} now"):
        approval.approve(approval.read_evidence(second, None), "why", check)
    approval.reject(approval.read_evidence(second, None), "too late")
    assert again(third).aliases == ("champion",)


def test_only_what_waits_is_approved_or_rejected_and_what_waits_is_not_promoted_by_hand(waiting, make):
    _, second = waiting
    third = make()
    for answer in (lambda seen: approval.approve(seen, "why", check), lambda seen: approval.reject(seen, "why")):
        with pytest.raises(Refused, match="nothing was decided about it yet"):
            answer(approval.read_evidence(third, None))
    with pytest.raises(Refused, match="waiting for an answer"):
        manual.promote_manually(second, "why", check)


def events_of(version):
    return [entry.event for entry in history.read(version.name).entries if entry.version == version.version]


def test_who_rejects_while_another_approves_is_obeyed(waiting):
    first, second = waiting

    def meanwhile(version):
        approval.reject(approval.read_evidence(again(version), None), "one queue is worse")
        return FINE

    with pytest.raises(Refused, match="is not waiting for an answer: it was rejected"):
        approval.approve(approval.read_evidence(second, None), "looks right", meanwhile)
    assert events_of(second) == ["registered", "rejected"]
    assert (again(first).aliases, again(second).aliases) == (("champion",), ())
    assert reconcile(first.name) == []
    agree(first.name)


def test_who_rejects_is_obeyed_also_if_he_was_killed_before_the_tag(waiting, monkeypatch):
    first, second = waiting

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


def test_who_waits_to_reject_while_another_approves_is_told_that_it_is_champion(waiting):
    """He has looked, the approval has the lock, and then it is his turn."""
    first, second = waiting
    seen = approval.read_evidence(second, None)
    approval.approve(approval.read_evidence(second, None), "looks right", check)
    with pytest.raises(Refused, match="is not waiting for an answer: it became champion"):
        approval.reject(seen, "one queue is worse")
    assert events_of(second) == ["registered", "approved", "champion"]
    assert decided(again(second)).promote
    assert reconcile(first.name) == []
    agree(first.name)


@pytest.mark.parametrize("answer", ["approve", "reject"])
def test_of_a_second_answer_that_waits_for_the_lock_nothing_is_written(waiting, answer, tmp_path):
    """In a process of its own, which has looked at the version before the first answer and comes after it."""
    _, second = waiting
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


# ---------------------------------------------------------------- after a crash


def test_nothing_wrong_is_found_in_no_time(waiting):
    began = time.perf_counter()
    assert reconcile(waiting[0].name) == []
    assert time.perf_counter() - began < 0.3
    assert reconcile("nobody") == []


def test_an_alias_that_a_strangers_hand_moved_is_put_back(waiting):
    first, second = waiting
    versions.set_alias(second, versions.CHAMPION)
    versions.drop_alias(second, versions.CHALLENGER)
    told = reconcile(first.name)
    assert f"the alias champion stood on {second}; the history says {first}: moved there" in told
    assert (again(first).aliases, again(second).aliases) == (("champion",), ("challenger",))
    backend.client().delete_registered_model_alias(first.name, versions.CHAMPION)
    assert "stood nowhere" in reconcile(first.name)[0]
    assert again(first).aliases == ("champion",)
    assert reconcile(first.name) == []


def test_an_alias_is_not_moved_to_a_damaged_version(waiting):
    first, second = waiting
    versions.set_alias(second, versions.CHAMPION)
    (versions.version_folder(first) / "MLmodel").write_text("{ }")
    assert "was left there" in reconcile(first.name)[0]
    assert versions.CHAMPION in again(second).aliases


def test_nothing_is_repaired_from_a_history_that_is_not_whole(waiting):
    first, second = waiting
    git("tag", "-d", history.read(first.name).entries[1].tag)
    versions.set_alias(second, versions.CHAMPION)
    with pytest.raises(Refused, match=r"is not whole: .*Nothing was written or repaired"):
        reconcile(first.name)
    assert versions.CHAMPION in again(second).aliases


def git(*words):
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def beheaded(make):
    """The second champion, whose entry, the last one, is lost; and how to bring it back."""
    first, second = make(), make()
    promote(first, told(), SHIPPED)
    promote(second, told(champion=str(first)), SHIPPED)
    tag = f"refs/tags/{history.read(first.name).last.tag}"
    kept = git("rev-parse", tag)
    git("update-ref", "-d", tag)
    return second, lambda: git("update-ref", tag, kept)


def test_no_entry_hides_that_a_champions_was_lost_and_no_alias_moves(beheaded, make):
    second, bring_back = beheaded
    name, head = second.name, versions.heads()[second.name]
    for write in (
        lambda: history.append_decision(name, ["nothing to do"], {}, versions.anchor),
        lambda: manual.promote_manually(again(second), "why", check),
        lambda: promote(again(second), told(champion=f"{name}/1"), SHIPPED),
        lambda: reconcile(name),
        make,
    ):
        with pytest.raises(
            Refused, match=r"the registry knows entry 4 .*the last one here is .*#3\. .*git fetch --tags"
        ):
            write()
    assert (versions.heads()[name], history.read(name).last.number) == (head, 3)
    assert again(second).aliases == ("champion",)
    bring_back()
    history.append_decision(name, ["nothing to do"], {}, versions.anchor)
    assert history.check(history.read(name), versions.heads()[name])[-1].ok
    assert again(second).aliases == ("champion",)


def test_who_takes_the_anchor_away_by_hand_goes_on_with_the_entries_that_are_there(beheaded):
    second, _ = beheaded
    backend.client().delete_registered_model_tag(second.name, versions.HEAD)
    assert any(f"the alias champion stood on {second}" in line for line in reconcile(second.name))
    assert agree(second.name).champion().version == 1
    assert manual.promote_manually(again(second), "it was champion", check).number == 4
    agree(second.name)


def test_a_history_of_which_nothing_is_left_is_not_begun_anew(beheaded):
    second, _ = beheaded
    git("tag", "-d", *(entry.tag for entry in history.read(second.name).entries))
    with pytest.raises(Refused, match=r"the registry knows entry 4 .*the last one here is none"):
        reconcile(second.name)


def test_a_deleted_champion_is_said_and_what_stands_in_its_place_is_no_champion(waiting):
    first, second = waiting
    backend.client().delete_model_version(first.name, "1")
    versions.set_alias(second, versions.CHAMPION)
    assert "which was deleted" in reconcile(first.name)[0]
    assert "was deleted from" in reconcile(first.name)[0]
    assert versions.champion(first.name) is None
    assert promote(second, told(champion=str(first)), SHIPPED).promote
    assert reconcile(first.name) == []


def test_what_was_cut_off_is_said(make, tmp_path):
    version = make()
    with runs.run(version.name, "run", {}) as run_id:
        versions.add_version(version.name, run_id, tmp_path, {"fingerprint": "f"})
    (said,) = reconcile(version.name)
    assert said.startswith(f"{version.name}/2 is in no history")
    assert again(version).aliases == ("challenger",)


ACT = """
import os, pathlib, sys
from retune.config import params
from retune.lineage import history, record
from retune.registry import versions
from tasks.promote import approval, gate_decision, manual
act, name, number, root = sys.argv[1:]
version = versions.find(name, version=int(number))
made = record.read(versions.version_folder(version) / record.FILE)
check = lambda version: {"Checked": "fine"}
writing = history.writing


def looked():
    if "LOOKED" in os.environ:
        pathlib.Path(os.environ["LOOKED"]).touch()
    return writing()


history.writing = looked
{
    "promote": lambda: gate_decision.promote(version, made, params.load(pathlib.Path(root)).promote),
    "by hand": lambda: manual.promote_manually(version, "by hand", check),
    "rollback": lambda: manual.roll_back(name, int(number), "back", check),
    "approve": lambda: approval.approve(approval.read_evidence(version, None), "yes", check),
    "reject": lambda: approval.reject(approval.read_evidence(version, None), "no"),
}[act]()
"""


def begin(act, version, **env):
    """One of the acts above in a process of its own."""
    root = Path(__file__).parents[3]
    return subprocess.Popen(
        [sys.executable, "-c", ACT, act, version.name, str(version.version), str(root / "params.yaml")],
        env={**os.environ, "PYTHONPATH": str(root), **env},
        stderr=subprocess.PIPE,
        text=True,
    )


def agree(name):
    """The history is whole, and registry, aliases and tags say what it says."""
    chain = history.read(name)
    assert all(link.ok for link in history.check(chain, versions.heads()[name]))
    for version in versions.versions(name):
        assert list(version.aliases) == chain.aliases(version.version)
    return chain


PASSED = {
    "promote": ("history", "promote"),
    "approve": ("history", "promote", "approve"),
    "reject": ("history", "reject"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("act", "point"),
    [(act, point) for act, verbs in PASSED.items() for point in failpoints.POINTS if point.partition(":")[0] in verbs],
)
def test_a_process_that_is_killed_at_any_point_is_made_good(make, act, point):
    first = make()
    promote(first, told(), SHIPPED)
    second = make(champion=str(first))
    if act != "promote":
        promote(second, told(champion=str(first)), ASKED)
    killed = begin(act, second, RETUNE_FAIL_AT=point)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    said = reconcile(first.name)
    assert said or point.endswith("before-history")
    agree(first.name)
    done = begin(act, second)
    complaint = done.communicate()[1]
    assert done.returncode == 0 or "already" in complaint or "not waiting" in complaint, complaint
    assert reconcile(first.name) == []
    chain = agree(first.name)
    assert chain.champion().version == (1 if act == "reject" else 2)
    kinds = [entry.event for entry in chain.entries if entry.version == 2]
    wanted = {"approve": ["registered", "approved", "champion"], "reject": ["registered", "rejected"]}
    assert kinds == wanted.get(act, ["registered", "champion"])
    assert succession.DECIDED in again(second).tags


@pytest.mark.slow
def test_of_two_processes_that_finish_at_once_one_becomes_champion_and_both_stories_are_told(make):
    for _ in range(3):
        name = (first := make()).name
        now = versions.champion(name)
        manual.promote_manually(first, "begin", check)
        rivals = [make(champion=str(first)), make(champion=str(first))]
        both = [begin("promote", rival) for rival in rivals]
        for each in both:
            assert each.communicate()[1] is not None
            assert each.returncode == 0
        champion = versions.champion(name)
        assert champion in [again(rival) for rival in rivals]
        assert champion != now
        (held,) = [again(rival) for rival in rivals if again(rival) != champion]
        assert f"the champion is {champion} now, not {first}" in decided(held).reasons[-1]
        assert decided(champion).promote
        assert reconcile(name) == []
        agree(name)
