"""Whatever is brought in and done to a model's versions, in whatever order, and wherever it is cut off: registry and
history agree, a fingerprint has one version, and no row is lost or doubled.

A real git repository, real rows in data/raw, a real registry in a SQLite file. A run does here what the flow does once
its stages have run, in the flow's order: is this fingerprint known, register, admit, promote. The versions hold a
record and no model, so the check that loads one is handed in. A crash is an exception at a fail point here;
tests/faults kills processes.
"""

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
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

from retune.config import params
from retune.data import row_table
from retune.errors import Refused
from retune.lineage import history
from retune.registry import backend, versions
from retune.system import failpoints
from tasks import ingest
from tasks.promote import approval, gate_decision, manual, reconcile, succession
from tasks.register import register
from tests.support.environment import ROOT
from tests.support.git_repo import init_repository

SHIPPED, REGISTER = params.load(ROOT / "params.yaml").promote, params.load(ROOT / "params.yaml").register
NAME, RAW = "m", Path("data/raw")
COLUMNS = ingest.Columns("text", "label", "id")
IDS, WORDS = st.sampled_from([f"r{number}" for number in range(1, 8)]), st.sampled_from(["one", "two", "three"])
VERSIONS = st.integers(1, 5)
LONG = [pytest.mark.timeout(3600)]
CRASHES = st.sampled_from([None, None, None, *failpoints.POINTS])


class Crash(BaseException):
    """Where a process would be gone: nothing catches it."""


def has_run(steward):
    return bool(steward.learned)  # before that, nothing of the kind can be done


class Steward(RuleBasedStateMachine):
    register_tiny = None  # handed in by the test

    def __init__(self):
        super().__init__()
        self.rows, self.rows_ever = {}, set()  # id -> its words now; all that each id has ever been
        self.learned, self.forgotten = {}, set()  # fingerprint -> ids
        self.dirty = False

    @initialize()
    def begin(self):
        """A repository of its own; the registry is one for all, so its models go."""
        for version in versions.versions(NAME):
            backend.client().delete_model_version(NAME, str(version.version))
        if NAME in versions.heads():
            backend.client().delete_registered_model(NAME)
        for tag in subprocess.run(["git", "tag"], capture_output=True, text=True, check=True).stdout.split():
            subprocess.run(["git", "tag", "-d", tag], check=True, capture_output=True)
        shutil.rmtree("data", ignore_errors=True)
        # In the future: an entry is a second after the one before, and nobody waits for one that is to come.
        history.append_decision(NAME, ["begin"], {"Rows": "0"}, versions.anchor, datetime(2060, 1, 1, tzinfo=UTC))

    # ------------------------------------------------------------ what people and runs do

    @rule(batch=st.dictionaries(IDS, WORDS, min_size=1), crash=CRASHES)
    def bring_in(self, batch, crash):
        """All of it or none, also if it is cut off."""
        content = {name: f"{word} of {name}" for name, word in batch.items()}
        rows = {"id": list(content), "text": list(content.values()), "label": "a"}
        pd.DataFrame(rows).to_csv("batch.csv", index=False)
        fresh = {name: text for name, text in content.items() if (name, text) not in self.rows_ever}
        done = self.may_crash(
            crash,
            lambda: ingest.ingest(
                "batch.csv", RAW, COLUMNS, ingest.Rules("classify", 0.0), ingest.Origin(licence="CC0-1.0")
            ),
        )
        if done or (fresh and fresh.items() <= self.there_are()[0].items()):
            self.rows |= fresh
            self.rows_ever |= set(fresh.items())
            assert not done or done.added + done.corrected == len(fresh)

    @precondition(lambda self: self.rows and (self.fingerprint() in self.learned or len(self.learned) < 5))
    @rule(gate=st.sampled_from(["champion", "champion", "held"]), approval=st.booleans(), crash=CRASHES)
    def run(self, gate, approval, crash):
        """As the flow does it once its stages have run."""
        fingerprint = self.fingerprint()
        self.learned[fingerprint] = self.rows.keys() - self.forgotten
        self.may_crash(crash, lambda: self.whole_road(fingerprint, gate, approval))

    @precondition(lambda self: self.fingerprint() in self.learned)
    @rule(gate=st.sampled_from(["champion", "held"]), approval=st.booleans(), crash=CRASHES)
    def run_again(self, gate, approval, crash):
        """On the very same rows: it goes on where it was cut off, and does nothing twice."""
        self.run(gate, approval, crash)

    def whole_road(self, fingerprint, gate, approval):
        champion = versions.champion(NAME)
        version = versions.known(NAME, fingerprint)
        version = version or self.register_tiny(NAME, gate, champion and str(champion), fingerprint, enter=False)
        failpoints.point("register:version")
        decided = succession.decided(version)
        record_facts = register.record_of_version(version)
        versions.tag_version(version, {register.RELOADED: "yes"})
        version = register.admit(versions.find(NAME, version=version.version), record_facts, REGISTER, reader=None)
        if decided is None:
            gate_decision.promote(version, record_facts, replace(SHIPPED, approval=approval))

    def fingerprint(self):
        """Of the rows that a run would learn from."""
        learned = {name: text for name, text in sorted(self.rows.items()) if name not in self.forgotten}
        return hashlib.sha256(json.dumps(learned).encode()).hexdigest()

    @precondition(has_run)
    @rule(number=VERSIONS, crash=CRASHES)
    def promote_by_hand(self, number, crash):
        self.of(number, crash, lambda version: manual.promote_manually(version, "by hand", self.check))

    @precondition(has_run)
    @rule(to=st.none() | VERSIONS, crash=CRASHES)
    def roll_back(self, to, crash):
        self.may_crash(crash, lambda: manual.roll_back(NAME, to, "back", self.check))

    @precondition(has_run)
    @rule(number=VERSIONS, crash=CRASHES)
    def approve(self, number, crash):
        self.of(number, crash, lambda each: approval.approve(approval.read_evidence(each, None), "yes", self.check))

    @precondition(has_run)
    @rule(number=VERSIONS, crash=CRASHES)
    def reject(self, number, crash):
        self.of(number, crash, lambda version: approval.reject(approval.read_evidence(version, None), "no"))

    @rule(name=IDS)
    def forget(self, name):
        self.forgotten.add(name)

    @precondition(has_run)
    @rule(number=VERSIONS)
    def delete(self, number):
        if number in self.registry_state():
            backend.client().delete_model_version(NAME, str(number))
            self.dirty = True

    @precondition(has_run)
    @rule(number=VERSIONS, alias=st.sampled_from([versions.CHAMPION, versions.CHALLENGER]))
    def move_an_alias_in_the_ui(self, number, alias):
        if number in self.registry_state():
            versions.set_alias(self.registry_state()[number], alias)
            self.dirty = True

    @rule(why=st.text(max_size=20).filter(lambda text: "\x00" not in text))
    def decide(self, why):
        history.append_decision(NAME, [why], {"Rows": "0"}, versions.anchor)

    # ------------------------------------------------------------ how

    def check(self, version):
        versions.checked_folder(version)
        if self.learned[version.tags["fingerprint"]] & self.forgotten:
            raise Refused("it learned from a forgotten row")
        return {"Checked": "fine"}

    def of(self, number, crash, act):
        if version := self.registry_state().get(number):
            self.may_crash(crash, lambda: act(version))

    def may_crash(self, crash, act):
        before = history.read(NAME).champion()

        def point(name):
            if name == crash:
                raise Crash(name)

        real_point, failpoints.point = failpoints.point, point
        try:
            return act()
        except Crash:
            self.dirty = True
        except Refused:
            after = history.read(NAME).champion()
            assert after == before, "what was refused has changed nothing"
        finally:
            failpoints.point = real_point
        return None

    def there_are(self):
        """id -> its words, the newest ones; and how often each pair stands in data/raw."""
        if not list(RAW.glob("*.parquet")):
            return {}, pd.Series(dtype=int)
        rows = row_table.read(RAW)
        return dict(zip(rows["id"], rows["text"], strict=True)), rows.value_counts(["id", "text"])

    def registry_state(self):
        return {version.version: version for version in versions.versions(NAME)}

    # ------------------------------------------------------------ what holds

    @rule()
    def start_again(self):
        """As each command and each retraining does first. It converges at once; what others must mend it says again."""
        lines = reconcile.reconcile(NAME)
        assert not any("is not whole" in line for line in lines), lines
        again = [line for line in reconcile.reconcile(NAME) if "was deleted from" not in line]
        assert [line for line in again if "goes on there when it is run again" not in line] == []
        state = reconcile.State.read(NAME)
        for case in reconcile.CASES:
            assert case.only_reports or list(case.repair(state)) == [], (case.history, case.registry)
        self.dirty = False

    @invariant()
    def no_row_is_lost_or_doubled(self):
        ids, often = self.there_are()
        assert ids == self.rows
        assert (often == 1).all()
        assert [path.name for path in RAW.glob(".*")] == []

    @invariant()
    def each_fingerprint_has_one_version(self):
        fingerprints = [version.tags["fingerprint"] for version in self.registry_state().values()]
        assert len(fingerprints) == len(set(fingerprints))

    @invariant()
    def registry_and_history_agree_unless_something_was_cut_off_or_changed_by_strangers(self):
        if self.dirty:
            return
        chain, registry_state = history.read(NAME), self.registry_state()
        if chain.entries:
            assert all(link.ok for link in history.check(chain, versions.heads()[NAME]))
        crowned = chain.champion()
        assert versions.champion(NAME) == (registry_state.get(crowned.version) if crowned else None)
        for number, version in registry_state.items():
            assert list(version.aliases) == chain.aliases(number)
            answer = succession.decided(version)
            assert not (answer and answer.awaiting and chain.answer(number)), "who was answered waits no more"
            assert not chain.served(number) or answer

    def teardown(self):
        self.start_again()
        self.registry_and_history_agree_unless_something_was_cut_off_or_changed_by_strangers()


@pytest.mark.parametrize(
    "examples", [pytest.param(20, marks=pytest.mark.slow), pytest.param(400, marks=[pytest.mark.long, *LONG])]
)
def test_registry_and_history_agree_whatever_happens(tmp_path, monkeypatch, register_tiny, examples):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    init_repository(tmp_path)
    monkeypatch.setattr(Steward, "register_tiny", staticmethod(register_tiny))
    often = settings(
        max_examples=int(os.environ.get("RETUNE_EXAMPLES", examples)),
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Steward, settings=often)
