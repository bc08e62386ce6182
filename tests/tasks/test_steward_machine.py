"""Whatever is done to a model's versions, in whatever order, and wherever it is cut off: registry and history agree.

A real git repository, a real registry in a SQLite file; the versions hold a record and no model, so the check that
loads one is handed in. A crash is an exception at a fail point here; tests/tasks/test_promote.py kills processes.
"""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tasks import promote
from tasks.core import faults, history, params, record
from tasks.core.errors import Refused
from tasks.core.tracking import backend, registry

ROOT = Path(__file__).parents[2]
SHIPPED = params.load(ROOT / "params.yaml").promote
NAME = "m"
VERSIONS = st.integers(1, 5)
CRASHES = st.sampled_from([None, None, None, *faults.POINTS])


class Crash(BaseException):
    """Where a process would be gone: nothing catches it."""


class Steward(RuleBasedStateMachine):
    register_tiny = None  # handed in by the test

    def __init__(self):
        super().__init__()
        self.learned, self.forgotten, self.fingerprints = {}, set(), 0
        self.dirty = False

    @initialize()
    def begin(self):
        """A repository of its own; the registry is one for all, so its models go."""
        for version in registry.versions(NAME):
            backend.client().delete_model_version(NAME, str(version.version))
        if NAME in registry.heads():
            backend.client().delete_registered_model(NAME)
        for tag in subprocess.run(["git", "tag"], capture_output=True, text=True, check=True).stdout.split():
            subprocess.run(["git", "tag", "-d", tag], check=True, capture_output=True)

    # ------------------------------------------------------------ what people and runs do

    @precondition(lambda self: self.fingerprints < 5)
    @rule(gate=st.sampled_from(["champion", "champion", "held"]), approval=st.booleans(), crash=CRASHES)
    def run(self, gate, approval, crash):
        champion = registry.champion(NAME)
        self.fingerprints += 1
        version = self.register_tiny(NAME, gate, champion and str(champion), str(self.fingerprints))
        self.learned[version.version] = f"r{version.version}"
        self.carry_out(version, approval, crash)

    @rule(number=VERSIONS, approval=st.booleans(), crash=CRASHES)
    def run_again(self, number, approval, crash):
        """As the flow does it: what was decided stays so."""
        version = self.there().get(number)
        if version and promote.decided(version) is None:
            self.carry_out(version, approval, crash)

    def carry_out(self, version, approval, crash):
        made = record.read(registry.version_folder(version) / record.FILE)
        self.may_crash(crash, lambda: promote.promote(version, made, replace(SHIPPED, approval=approval)))

    @rule(number=VERSIONS, crash=CRASHES)
    def promote_by_hand(self, number, crash):
        self.of(number, crash, lambda version: promote.by_hand(version, "by hand", self.check))

    @rule(to=st.none() | VERSIONS, crash=CRASHES)
    def roll_back(self, to, crash):
        self.may_crash(crash, lambda: promote.back(NAME, to, "back", self.check))

    @rule(number=VERSIONS, crash=CRASHES)
    def approve(self, number, crash):
        self.of(number, crash, lambda each: promote.approve(promote.evidence(each, None), "yes", self.check))

    @rule(number=VERSIONS, crash=CRASHES)
    def reject(self, number, crash):
        self.of(number, crash, lambda version: promote.reject(promote.evidence(version, None), "no"))

    @rule(number=VERSIONS)
    def forget(self, number):
        """A row that this version learned from."""
        self.forgotten.add(f"r{number}")

    @rule(number=VERSIONS)
    def delete(self, number):
        if number in self.there():
            backend.client().delete_model_version(NAME, str(number))
            self.dirty = True

    @rule(number=VERSIONS, alias=st.sampled_from([registry.CHAMPION, registry.CHALLENGER]))
    def move_an_alias_in_the_ui(self, number, alias):
        if number in self.there():
            registry.set_alias(self.there()[number], alias)
            self.dirty = True

    @rule(why=st.text(max_size=20).filter(lambda text: "\x00" not in text))
    def decide(self, why):
        history.decide(NAME, [why], {"Rows": "0"}, registry.anchor)

    # ------------------------------------------------------------ how

    def check(self, version):
        registry.checked_folder(version)
        if self.learned[version.version] in self.forgotten:
            raise Refused("it learned from a forgotten row")
        return {"Checked": "fine"}

    def of(self, number, crash, act):
        if version := self.there().get(number):
            self.may_crash(crash, lambda: act(version))

    def may_crash(self, crash, act):
        before = history.read(NAME).champion()

        def point(name):
            if name == crash:
                raise Crash(name)

        kept, faults.point = faults.point, point
        try:
            act()
        except Crash:
            self.dirty = True
        except Refused:
            after = history.read(NAME).champion()
            assert after == before, "what was refused has changed nothing"
        finally:
            faults.point = kept

    def there(self):
        return {version.version: version for version in registry.versions(NAME)}

    # ------------------------------------------------------------ what holds

    @rule()
    def start_again(self):
        """As each command and each retraining does first. It converges at once."""
        said = promote.reconcile(NAME)
        assert not any("is not whole" in line for line in said), said
        assert [line for line in promote.reconcile(NAME) if "was deleted from" not in line] == []
        self.dirty = False

    @invariant()
    def each_fingerprint_has_one_version(self):
        fingerprints = [version.tags["fingerprint"] for version in self.there().values()]
        assert len(fingerprints) == len(set(fingerprints))

    @invariant()
    def registry_and_history_agree_unless_something_was_cut_off_or_changed_by_strangers(self):
        if self.dirty:
            return
        chain, there = history.read(NAME), self.there()
        if chain.entries:
            assert all(link.ok for link in history.check(chain, registry.heads()[NAME]))
        crowned = chain.champion()
        assert registry.champion(NAME) == (there.get(crowned.version) if crowned else None)
        for number, version in there.items():
            assert list(version.aliases) == chain.aliases(number)
            answer = promote.decided(version)
            assert not (answer and answer.awaiting and chain.answer(number)), "who was answered waits no more"
            assert not chain.served(number) or answer

    def teardown(self):
        self.start_again()
        self.registry_and_history_agree_unless_something_was_cut_off_or_changed_by_strangers()


@pytest.mark.slow
def test_registry_and_history_agree_whatever_happens(tmp_path, monkeypatch, register_tiny):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    for words in (["init", "-q"], ["config", "user.name", "A. Tester"], ["config", "user.email", "t@example.com"]):
        subprocess.run(["git", *words], check=True)
    subprocess.run(["git", "commit", "-q", "--allow-empty", "-m", "start"], check=True)
    monkeypatch.setattr(Steward, "register_tiny", staticmethod(register_tiny))
    often = settings(
        max_examples=int(os.environ.get("RETUNE_EXAMPLES", "30")),
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Steward, settings=often)
