"""Promotion by hand and rollback, against a real registry and a real history in git."""

import pandas as pd
import pytest

from retune.data import suppression
from retune.errors import Refused
from retune.lineage import record
from retune.registry import backend, reload_check, runs, versions
from retune.system import dvc_store
from tasks.promote import manual
from tasks.promote.gate_decision import promote
from tasks.promote.succession import decided
from tests.support.promotion import FINE, REASONS, SHIPPED, again, check, crowned, gate_facts, interrupted


def test_a_person_may_promote_what_the_gate_held(register_version):
    first, second = register_version(), register_version()
    promote(first, gate_facts(), SHIPPED)
    promote(second, gate_facts("held", str(first)), SHIPPED)
    entry = manual.promote_manually(again(second), "the new queue needs it", check)
    assert (entry.event, entry.facts["How"], entry.why) == ("champion", "by hand", ("the new queue needs it",))
    assert entry.facts["Checked"] == FINE["Checked"]
    assert again(second).aliases == ("champion",)
    assert again(first).aliases == ()
    reasons = decided(again(second)).reasons
    assert reasons[:2] == REASONS
    assert reasons[2].startswith("by hand, ")
    assert reasons[2].endswith("the new queue needs it")


def test_what_is_champion_already_is_not_promoted_again(register_version):
    version = register_version()
    promote(version, gate_facts(), SHIPPED)
    with pytest.raises(Refused, match="is champion already"):
        manual.promote_manually(again(version), "why", check)
    assert crowned(version) == [1]


def test_a_damaged_version_is_not_promoted(register_version):
    version = register_version()
    (versions.version_folder(version) / "MLmodel").write_text("{ }")
    with pytest.raises(Refused, match="is not what was registered"):
        manual.promote_manually(version, "why", check)
    assert again(version).aliases == ("challenger",)
    assert crowned(version) == []


def test_a_version_that_no_history_knows_is_not_promoted(register_version, tmp_path):
    version = register_version()
    with runs.run(version.name, "run", {}) as run_id:
        stray = versions.add_version(version.name, run_id, tmp_path, {})
    with pytest.raises(Refused, match="has no entry in the history"):
        manual.promote_manually(stray, "why", check)


def test_a_champion_that_changed_while_a_version_was_checked_stops_a_promotion(register_version):
    first, second = register_version(), register_version()
    promote(first, gate_facts(), SHIPPED)

    def meanwhile(_):
        manual.promote_manually(third, "quicker", check)
        return FINE

    third = register_version()
    with pytest.raises(Refused, match=f"the champion is {third} now, no longer {first}"):
        manual.promote_manually(second, "why", meanwhile)
    assert crowned(first) == [1, 3]


def test_a_rollback_goes_back_one_champion_at_a_time_and_never_to_what_was_rolled_back(register_version):
    versions_made = [register_version() for _ in range(3)]
    for before, version in zip([None, *versions_made], versions_made, strict=False):
        promote(version, gate_facts(champion=before and str(before)), SHIPPED)
    name = versions_made[0].name
    assert manual.roll_back(name, None, "worse", check).version == 2
    entry = manual.roll_back(name, None, "worse too", check)
    assert (entry.version, entry.facts["How"], entry.why) == (1, "rollback", ("worse too",))
    with pytest.raises(Refused, match="had no champion before"):
        manual.roll_back(name, None, "worse still", check)
    assert again(versions_made[0]).aliases == ("champion",)
    assert manual.roll_back(name, 3, "it was not so bad", check).version == 3
    assert manual.roll_back(name, None, "it was", check).version == 1
    assert crowned(versions_made[0]) == [1, 2, 3, 2, 1, 3, 1]


def test_a_rollback_says_in_words_why_it_cannot(register_version):
    first, second = register_version(), register_version()
    name = first.name
    with pytest.raises(Refused, match="has no champion"):
        manual.roll_back(name, None, "why", check)
    promote(first, gate_facts(), SHIPPED)
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


def test_a_crash_before_the_tags_does_not_undo_a_rollback(register_version, monkeypatch):
    """The run that was killed is run again, after a person has gone back from what it had promoted."""
    first, second = register_version(), register_version()
    promote(first, gate_facts(), SHIPPED)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(versions, "tag_version", interrupted)
        promote(second, gate_facts(champion=str(first)), SHIPPED)
    manual.roll_back(first.name, None, "worse", check)
    assert not promote(second, gate_facts(champion=str(first)), SHIPPED).promote
    assert again(first).aliases == ("champion",)


@pytest.fixture
def suppressed_version(register_version, monkeypatch, tmp_path):
    """A version that learned from row r1, which is on the list of those that must not be learned from."""
    listed = suppression.add(suppression.NOTHING, ["r1"], "asked", "me", "2026-01-01")
    rows = {"train": ["r0", "r1"], "val": ["r2"]}
    monkeypatch.setattr(suppression, "read", lambda: listed)
    record_facts = record.read(versions.version_folder(version := register_version()) / record.FILE)
    for side, ids in rows.items():
        pd.DataFrame({"id": ids}).to_parquet(tmp_path / side)
    folders = {record_facts["data"]["sides"][side]["md5"]: tmp_path / side for side in rows}
    monkeypatch.setattr(dvc_store, "parquet", lambda md5: folders[md5] if folders else expect_lost(md5))
    monkeypatch.setattr(reload_check, "says_the_same", lambda *_: "fine")
    return version, folders


def expect_lost(md5):
    raise dvc_store.MissingBytes(f"bytes gone, hash kept: {md5}")


def test_what_learned_from_a_forgotten_row_serves_only_on_demand(suppressed_version):
    version, folders_by_side = suppressed_version
    with pytest.raises(Refused, match=r"1 row it learned from must not be .*--even-forgotten"):
        manual.fit_to_serve(version, None, even_forgotten=False)
    assert manual.fit_to_serve(version, None, even_forgotten=True) == {
        "Checked": "fine",
        "Forgotten": "1 row it learned from must not be learned from any more",
    }
    folders_by_side.clear()
    with pytest.raises(Refused, match="it may have learned from a row"):
        manual.fit_to_serve(version, None, even_forgotten=False)


def test_a_version_that_failed_a_golden_case_serves_where_a_person_says_so_and_the_history_tells(
    register_version, monkeypatch
):
    version = register_version()
    facts = record.read(versions.version_folder(version) / record.FILE)
    failed = {"kind": "golden", "name": "lost parcel", "rows": 1, "loss": 1.0, "limit": 0.0, "confidence": 1.0}
    facts["gate"]["bounds"] = [{**failed, "broken": True}]
    monkeypatch.setattr(record, "read", lambda _: facts)
    monkeypatch.setattr(suppression, "read", lambda: suppression.NOTHING)
    monkeypatch.setattr(reload_check, "says_the_same", lambda *_: "fine")
    entry = manual.promote_manually(version, "why", lambda each: manual.fit_to_serve(each, None, False))
    assert entry.golden == "it failed golden cases: 'lost parcel'"
    assert again(version).aliases == ("champion",)
