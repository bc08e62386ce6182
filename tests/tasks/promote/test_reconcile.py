"""What is made good after a crash or a stranger's hand, against a real registry and a real history in git."""

import signal
import time

import pytest

from retune.errors import Refused
from retune.lineage import history
from retune.registry import backend, runs, versions
from retune.system import failpoints
from tasks.promote import manual, succession
from tasks.promote.gate_decision import promote
from tasks.promote.reconcile import reconcile
from tasks.promote.succession import decided
from tests.support.git_repo import git
from tests.support.promotion import ASKED, SHIPPED, again, agree, begin, check, gate_facts


def test_nothing_wrong_is_found_in_no_time(awaiting_approval):
    began = time.perf_counter()
    assert reconcile(awaiting_approval[0].name) == []
    assert time.perf_counter() - began < 0.3
    assert reconcile("nobody") == []


def test_an_alias_that_a_strangers_hand_moved_is_put_back(awaiting_approval):
    first, second = awaiting_approval
    versions.set_alias(second, versions.CHAMPION)
    versions.drop_alias(second, versions.CHALLENGER)
    lines = reconcile(first.name)
    assert f"the alias champion stood on {second}; the history says {first}: moved there" in lines
    assert (again(first).aliases, again(second).aliases) == (("champion",), ("challenger",))
    backend.client().delete_registered_model_alias(first.name, versions.CHAMPION)
    assert "stood nowhere" in reconcile(first.name)[0]
    assert again(first).aliases == ("champion",)
    assert reconcile(first.name) == []


def test_an_alias_is_not_moved_to_a_damaged_version(awaiting_approval):
    first, second = awaiting_approval
    versions.set_alias(second, versions.CHAMPION)
    (versions.version_folder(first) / "MLmodel").write_text("{ }")
    assert "was left there" in reconcile(first.name)[0]
    assert versions.CHAMPION in again(second).aliases


def test_nothing_is_repaired_from_a_history_that_is_not_whole(awaiting_approval):
    first, second = awaiting_approval
    git("tag", "-d", history.read(first.name).entries[1].tag)
    versions.set_alias(second, versions.CHAMPION)
    with pytest.raises(Refused, match=r"is not whole: .*Nothing was written or repaired"):
        reconcile(first.name)
    assert versions.CHAMPION in again(second).aliases


@pytest.fixture
def lost_last_entry(register_version):
    """The second champion, whose entry, the last one, is lost; and how to bring it back."""
    first, second = register_version(), register_version()
    promote(first, gate_facts(), SHIPPED)
    promote(second, gate_facts(champion=str(first)), SHIPPED)
    tag = f"refs/tags/{history.read(first.name).last.tag}"
    object_name = git("rev-parse", tag)
    git("update-ref", "-d", tag)
    return second, lambda: git("update-ref", tag, object_name)


def test_no_entry_hides_that_a_champions_was_lost_and_no_alias_moves(lost_last_entry, register_version):
    second, bring_back = lost_last_entry
    name, head = second.name, versions.heads()[second.name]
    for write in (
        lambda: history.append_decision(name, ["nothing to do"], {}, versions.anchor),
        lambda: manual.promote_manually(again(second), "why", check),
        lambda: promote(again(second), gate_facts(champion=f"{name}/1"), SHIPPED),
        lambda: reconcile(name),
        register_version,
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


def test_who_takes_the_anchor_away_by_hand_goes_on_with_the_entries_that_are_there(lost_last_entry):
    second, _ = lost_last_entry
    backend.client().delete_registered_model_tag(second.name, versions.HEAD)
    assert any(f"the alias champion stood on {second}" in line for line in reconcile(second.name))
    assert agree(second.name).champion().version == 1
    assert manual.promote_manually(again(second), "it was champion", check).number == 4
    agree(second.name)


def test_a_history_of_which_nothing_is_left_is_not_begun_anew(lost_last_entry):
    second, _ = lost_last_entry
    git("tag", "-d", *(entry.tag for entry in history.read(second.name).entries))
    with pytest.raises(Refused, match=r"the registry knows entry 4 .*the last one here is none"):
        reconcile(second.name)


def test_a_deleted_champion_is_said_and_what_stands_in_its_place_is_no_champion(awaiting_approval):
    first, second = awaiting_approval
    backend.client().delete_model_version(first.name, "1")
    versions.set_alias(second, versions.CHAMPION)
    assert "which was deleted" in reconcile(first.name)[0]
    assert "was deleted from" in reconcile(first.name)[0]
    assert versions.champion(first.name) is None
    assert promote(second, gate_facts(champion=str(first)), SHIPPED).promote
    assert reconcile(first.name) == []


def test_what_was_cut_off_is_said(register_version, tmp_path):
    version = register_version()
    with runs.run(version.name, "run", {}) as run_id:
        versions.add_version(version.name, run_id, tmp_path, {"fingerprint": "f"})
    (line,) = reconcile(version.name)
    assert line.startswith(f"{version.name}/2 is in no history")
    assert again(version).aliases == ("challenger",)


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
def test_a_process_that_is_killed_at_any_point_is_made_good(register_version, act, point):
    first = register_version()
    promote(first, gate_facts(), SHIPPED)
    second = register_version(champion=str(first))
    if act != "promote":
        promote(second, gate_facts(champion=str(first)), ASKED)
    killed = begin(act, second, RETUNE_FAIL_AT=point)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    lines = reconcile(first.name)
    assert lines or point.endswith("before-history")
    agree(first.name)
    done = begin(act, second)
    complaint = done.communicate()[1]
    assert done.returncode == 0 or "already" in complaint or "not waiting" in complaint, complaint
    assert reconcile(first.name) == []
    chain = agree(first.name)
    assert chain.champion().version == (1 if act == "reject" else 2)
    kinds = [entry.event for entry in chain.entries if entry.version == 2]
    expected = {"approve": ["registered", "approved", "champion"], "reject": ["registered", "rejected"]}
    assert kinds == expected.get(act, ["registered", "champion"])
    assert succession.DECIDED in again(second).tags


@pytest.mark.slow
def test_of_two_processes_that_finish_at_once_one_becomes_champion_and_both_stories_are_told(register_version):
    for _ in range(3):
        name = (first := register_version()).name
        now = versions.champion(name)
        manual.promote_manually(first, "begin", check)
        rivals = [register_version(champion=str(first)), register_version(champion=str(first))]
        both = [begin("promote", rival) for rival in rivals]
        for each in both:
            assert each.communicate()[1] is not None
            assert each.returncode == 0
        champion = versions.champion(name)
        assert champion in [again(rival) for rival in rivals]
        assert champion != now
        (held_version,) = [again(rival) for rival in rivals if again(rival) != champion]
        assert f"the champion is {champion} now, not {first}" in decided(held_version).reasons[-1]
        assert decided(champion).promote
        assert reconcile(name) == []
        agree(name)
