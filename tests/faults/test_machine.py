"""The commands themselves in any order, killed anywhere.

tests/tasks/promote/test_succession_machine.py does the same in one process.

A step takes seconds, so few stories are told; `RETUNE_EXAMPLES=20 pytest tests/faults/test_machine.py -m long` tells
more. Each begins with a champion, and with a run that makes a better version: that is promoted, or waits for a person,
or the run is killed.
"""

import json
import os

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from retune.system.failpoints import POINTS, VARIABLE

pytestmark = [pytest.mark.long, pytest.mark.timeout(0)]

INGEST = ("ingest:", "rows:")
ANSWER = ("history:", "promote:", "approve:", "reject:")
ELSEWHERE = ("ingest:", "approve:", "reject:", "checkpoint:", "retrain:", "workspace:")  # what a run does not pass
VERSIONS = st.sampled_from([2, 2, 1, 3])  # what a story begins with, and what it makes
BATCH = 12  # rows
DELETE = """
import sys
from retune.registry import backend, versions
if int(sys.argv[1]) in [version.version for version in versions.versions("classifier")]:
    backend.client().delete_model_version("classifier", sys.argv[1])
"""
LOOK = """
import json
from pathlib import Path
from tasks.trace import verify
from retune.data import row_table; from retune.lineage import history
from retune.registry import backend, versions
versions, chain = versions.versions("classifier"), history.read("classifier")
champion = versions.champion("classifier")
runs = backend.client().search_runs([backend.client().get_experiment_by_name("classifier").experiment_id])
links = [*(verify.model(champion).links if champion else []), *verify.chain("classifier")]
print(json.dumps({
    "versions": [version.version for version in versions],
    "fingerprints": [version.tags["fingerprint"] for version in versions],
    "aliases": {version.version: sorted(version.aliases) for version in versions},
    "history": {version.version: sorted(chain.aliases(version.version)) for version in versions},
    "champion": champion and champion.version,
    "crowned": chain.champion() and chain.champion().version,
    "broken": [f"{link.name}: {link.expected} != {link.found}" for link in links if not link.ok],
    "open": sum(run.info.status == "RUNNING" for run in runs),
    "ids": sorted(row_table.read(Path("data/raw"))["id"]),
}))
"""


def crashes(points):
    """None, or the point at which a command dies that passes such points."""
    return st.sampled_from([None, *points])


AT_INGEST = crashes(point for point in POINTS if point.startswith(INGEST))
AT_ANSWER = crashes(point for point in POINTS if point.startswith(ANSWER))
IN_A_RUN = crashes(point for point in POINTS if not point.startswith(ELSEWHERE))


class RunMachine(RuleBasedStateMachine):
    road = None  # handed in by the test, and the command of a run

    @initialize(crash=IN_A_RUN, approval=st.booleans())
    def begin(self, crash, approval):
        self.road.begin("scored")
        (self.road.folder / ".git/info/exclude").write_text("/*.csv\n")
        rows = pd.read_csv(self.road.folder / "tests/samples/tickets.csv", dtype=str, keep_default_na=False)
        self.slice_rows = pd.read_csv(self.road.folder / "slice.csv", dtype=str, keep_default_na=False)
        self.pool = rows[
            rows["queue"].isin(self.slice_rows["queue"]) & ~rows["ticket_id"].isin(self.slice_rows["ticket_id"])
        ]
        self.came, self.whole, self.cut_off = 0, [set(self.slice_rows["ticket_id"])], []
        self.facts_told = []
        self.run(crash, approval)

    # ------------------------------------------------------------ what people do

    @rule(crash=AT_INGEST)
    def ingest(self, crash):
        batch = self.pool.iloc[self.came : self.came + BATCH]
        self.came += BATCH
        batch.to_csv(self.road.folder / "batch.csv", index=False)
        words = ["--text", "body", "--label", "queue", "--id", "ticket_id", "--group", "customer_id"]
        came = self.go(crash, "ingest", "batch.csv", *words) == 0
        (self.whole if came else self.cut_off).append(set(batch["ticket_id"]))

    @rule(crash=IN_A_RUN, approval=st.booleans())
    def run(self, crash, approval):
        _, *settings = self.road.commands["scored"]
        self.go(crash, "run", "-S", f"promote.approval={str(approval).lower()}", *settings)

    @rule(crash=AT_ANSWER, number=VERSIONS, verb=st.sampled_from(["approve", "reject", "promote"]))
    def by_hand(self, crash, number, verb):
        self.go(crash, verb, f"classifier/{number}", "--reason", "by hand")

    @rule(crash=AT_ANSWER)
    def roll_back(self, crash):
        self.go(crash, "rollback", "--reason", "back")

    @rule(row=st.integers(0, 250))
    def forget(self, row):
        self.go(None, "forget", self.slice_rows["ticket_id"].iloc[row % len(self.slice_rows)], "--reason", "asked to")

    @rule(number=VERSIONS)
    def delete(self, number):
        done = self.road.clone.python("-c", DELETE, number)
        assert done.returncode == 0, done.stderr
        self.facts_told.append(f"delete classifier/{number}")

    # ------------------------------------------------------------ how, and what holds

    def go(self, crash, *words):
        done = self.road.go(words, **({VARIABLE: crash} if crash else {}))
        self.facts_told.append(f"{' '.join(words[:3])} {crash or ''}: {done.returncode}\n{done.stdout}{done.stderr}")
        assert "Traceback" not in done.stdout + done.stderr, self.facts_told[-1]
        assert done.returncode in (0, 1, 2) or crash, self.facts_told[-1]
        assert self.road.left_alive() == []
        return done.returncode

    def teardown(self):
        """Whatever has happened: one more run, and all agrees."""
        if not hasattr(self, "told"):
            return
        done = self.road.go([*self.road.commands["scored"], "-S", "promote.approval=false"])
        story = "\n".join([*self.facts_told, done.stdout + done.stderr])
        print(f"{len(self.facts_told)} steps: {[each.splitlines()[0] for each in self.facts_told]}")
        assert done.returncode in (0, 1) and "Traceback" not in done.stdout + done.stderr, story
        looked = self.road.clone.python("-c", LOOK)
        assert looked.returncode == 0, looked.stderr
        state = json.loads(looked.stdout.splitlines()[-1])
        # A forgotten row that the champion learned from, and a deleted version: verify says so, and rightly.
        broken = [each for each in state["broken"] if not each.startswith("suppressed rows learned by")]
        if any(each.startswith("delete") for each in self.facts_told):
            broken = [each for each in broken if "history only" not in each]
        assert broken == [], story
        assert len(set(state["fingerprints"])) == len(state["fingerprints"]), story
        assert state["aliases"] == state["history"], story
        assert state["champion"] == state["crowned"] or state["crowned"] not in state["versions"], story
        assert state["open"] == 0, story
        assert self.road.torn() == [], story
        assert len(state["ids"]) == len(set(state["ids"])), story
        row_ids = set(state["ids"])
        assert all(batch <= row_ids for batch in self.whole), "no row is lost"
        assert all(batch <= row_ids or not batch & row_ids for batch in self.cut_off), "all of a batch or nothing"
        assert row_ids <= set().union(*self.whole, *self.cut_off), story


def test_all_agrees_whatever_was_done_and_wherever_it_was_killed(staged_run, monkeypatch):
    monkeypatch.setattr(RunMachine, "road", staged_run)
    few = settings(
        max_examples=int(os.environ.get("RETUNE_EXAMPLES", "5")),  # the first two are the plainest that there are
        stateful_step_count=6,
        deadline=None,
        phases=[Phase.generate],  # to make a failure shorter would take hours
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(RunMachine, settings=few)
