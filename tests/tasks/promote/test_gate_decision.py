"""The decision of the gate, against a real registry and a real history in git."""

import pytest

from retune.lineage import history
from retune.promotion.gate import Decision
from retune.registry import versions
from tasks.promote.gate_decision import promote
from tasks.promote.succession import decided
from tests.support.promotion import REASONS, SHIPPED, again, crowned, gate_facts, interrupted


def test_a_promoted_version_is_champion_and_challenger_no_more(register_version):
    version = register_version()
    assert decided(version) is None
    for _ in range(2):  # a crash in between repeats it
        assert promote(version, gate_facts(), SHIPPED).promote
    assert again(version).aliases == ("champion",)
    assert decided(again(version)) == Decision(True, REASONS)
    assert crowned(version) == [1]
    assert versions.heads()[version.name] == history.read(version.name).last.head


def test_a_held_version_stays_challenger_and_remembers_why(register_version):
    version = register_version()
    promote(version, gate_facts("held"), SHIPPED)
    assert again(version).aliases == ("challenger",)
    assert decided(again(version)) == Decision(False, REASONS)
    assert crowned(version) == []


def test_a_version_that_was_found_worse_is_remembered_as_such_with_every_reason(register_version):
    version, gate = register_version(), gate_facts("held")
    gate["gate"] |= {"worse": True, "reasons": [*REASONS, "label bills -0.2000 on 100 rows"]}
    promote(version, gate, SHIPPED)
    assert decided(again(version)) == Decision(False, (*REASONS, "label bills -0.2000 on 100 rows"), worse=True)


def test_a_crash_between_the_history_and_the_alias_is_carried_on(register_version, monkeypatch):
    version = register_version()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(versions, "set_alias", interrupted)
        promote(version, gate_facts(), SHIPPED)
    assert (again(version).aliases, crowned(version)) == (("challenger",), [1])
    promote(version, gate_facts(), SHIPPED)
    assert (again(version).aliases, crowned(version)) == (("champion",), [1])


def test_nobody_is_promoted_over_a_champion_that_he_was_not_compared_with(register_version):
    first, second, third = register_version(), register_version(), register_version()
    promote(first, gate_facts(), SHIPPED)
    promote(second, gate_facts(champion=str(first)), SHIPPED)
    second_version = promote(third, gate_facts(champion=str(first)), SHIPPED)
    assert not second_version.promote
    assert f"the champion is {second} now, not {first}" in second_version.reasons[-1]
    assert versions.champion(first.name).version == second.version
    assert crowned(first) == [1, 2]


def test_the_reasons_of_a_decision_keep_their_order(register_version):
    version = register_version()
    many = {"gate": {**gate_facts()["gate"], "rivals": [{"reason": f"reason {number}"} for number in range(12)]}}
    promote(version, many, SHIPPED)
    assert decided(again(version)).reasons == tuple(f"reason {number}" for number in range(12))
