"""A clone that retrains on what its source delivers."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.support.clones import Clone
from tests.support.environment import READING

SMALL_RUN = {
    "train.method": "probe",
    "train.max_tokens": 32,
    "validate.max_truncated_share": 1.0,
    "evaluate.bootstrap": 100,
    "promote.bootstrap": 200,
    "promote.confidence": 0.6,
    "register.reload_rows": 8,
}
ALWAYS_RETRAIN = {
    "promote.latency_ratio": 100.0,  # a busy machine must not decide a story
    "trigger.new_rows": 40,
    "fetch.settle_seconds": 0.0,
}
COLUMNS = {
    "text": "body",
    "label": "queue",
    "id": "ticket_id",
    "group": "customer_id",
    "split": None,
    "rejected": None,
    "keep": [],
}


@dataclass
class RetrainingClone:
    """A clone that retrains, and the folder into which its source puts files."""

    clone: Clone
    inbox: Path
    rows: pd.DataFrame

    def deliver(self, name, rows):
        rows.to_csv(self.inbox / name, index=False)

    def retrain(self, *arguments, timeout=600, **env):
        start = time.monotonic()
        process = subprocess.run(
            [*self.command, "retrain", *arguments, "--json"],
            cwd=self.clone.folder,
            env={**self.clone.environment(), **env},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        seconds = time.monotonic() - start
        print(f"retrain {' '.join(arguments)}: {process.returncode} in {seconds:.1f} s\n{process.stderr[-3000:]}")
        return process

    def retrain_report(self, *arguments, exit_code=0, **env):
        process = self.retrain(*arguments, **env)
        assert process.returncode == exit_code, process.stdout + process.stderr
        return json.loads(process.stdout)

    def query(self, *arguments, exit_code=0):
        process = self.clone.retune(*arguments, "--json")
        assert process.returncode == exit_code, process.stdout + process.stderr
        return json.loads(process.stdout)

    @property
    def command(self):
        return [sys.executable, "-m", "flows.cli"]

    def decisions(self):
        return [
            entry["facts"]["Decision"] for entry in self.query("history", "classifier") if entry["event"] == "decided"
        ]

    def checkout_state(self):
        """The user's checkout: branch, index, files."""
        return self.clone.git("status", "--porcelain"), self.clone.git("rev-parse", "HEAD")

    def assert_consistent(self):
        """What holds whatever has happened: one version a fingerprint, a champion that verifies, one whole history."""
        versions = self.query("models")
        fingerprints = [each["fingerprint"] for each in versions]
        assert len(fingerprints) == len(set(fingerprints)), "one version a fingerprint"
        assert self.query("history", "--verify")["ok"]
        assert self.query("verify", "classifier@champion")["ok"]
        return versions

    def row_ids(self):
        """The ids of all rows that have come in, those set aside left out."""
        pointer = yaml.safe_load(self.clone.git("show", "retune/intake:data/raw.dvc"))["outs"][0]["md5"]
        entries = json.loads(self.cached_file(pointer).read_text("utf-8"))
        parts = [self.cached_file(each["md5"]) for each in entries if each["relpath"].endswith(".parquet")]
        return pd.concat([pd.read_parquet(part, columns=["id"])["id"] for part in parts])

    def cached_file(self, md5):
        """What the DVC cache keeps under a hash."""
        return self.clone.folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]

    def assert_no_worktree_left(self):
        assert len(self.clone.git("worktree", "list").splitlines()) == 1
        runs = self.clone.folder / ".retune/runs"
        assert [path for path in runs.iterdir() if path.is_dir()] == []

    def assert_nothing_left(self):
        self.assert_no_worktree_left()
        folder = str(self.clone.folder)
        for process in Path("/proc").glob("[0-9]*/cwd"):
            try:
                assert not str(process.readlink()).startswith(folder), process
            except OSError:
                continue


@pytest.fixture(scope="session")
def small_run_settings():
    """Parameters with which a run takes seconds, and its gate lets pass what is better by a little."""
    return SMALL_RUN


@pytest.fixture(scope="session")
def make_retraining_clone():
    """Makes a clone into one that retrains on a slice of the sample; further settings by their dotted names."""

    def make(clone, inbox, queues=("billing", "delivery", "sign_in", "refunds"), **settings):
        values = yaml.safe_load((clone.folder / "params.yaml").read_text("utf-8"))
        for key, value in {**SMALL_RUN, **ALWAYS_RETRAIN, **settings}.items():
            *parents, name = key.split(".")
            section = values
            for parent in parents:
                section = section[parent]
            section[name] = value
        source = {"kind": "files", "name": "desk", "path": str(inbox), "columns": COLUMNS, "reading": READING}
        values["fetch"]["sources"] = [{**source, "licence": "Apache-2.0", "collected": None}]
        (clone.folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), "utf-8")
        clone.git("-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qam", "params")
        rows = pd.read_csv(clone.folder / "tests/samples/tickets.csv", dtype=str, keep_default_na=False)
        rows = rows[rows["queue"].isin(queues) & (rows["body"].str.len() > 20)].drop_duplicates("body")
        return RetrainingClone(clone, inbox, rows.reset_index(drop=True))

    return make
