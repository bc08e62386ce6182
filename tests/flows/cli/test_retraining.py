"""The commands of whoever keeps models current, as people call them."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from retune.data import intake_branch
from tests.support.environment import READING

SAMPLE = Path(__file__).parents[2] / "samples/tickets.csv"
COLUMNS = {
    "text": "body",
    "label": "queue",
    "id": "ticket_id",
    "group": "customer_id",
    "split": None,
    "rejected": None,
    "keep": [],
}


@pytest.fixture
def with_sources(own_clone):
    """Writes file sources into params.yaml, by their names and paths."""

    def configure(**paths):
        path = own_clone.folder / "params.yaml"
        values = yaml.safe_load(path.read_text("utf-8"))
        files = {"kind": "files", "columns": COLUMNS, "reading": READING, "licence": None, "collected": None}
        sources = [{**files, "name": name, "path": str(where)} for name, where in paths.items()]
        values["fetch"] |= {"settle_seconds": 0.0, "sources": sources}
        path.write_text(yaml.safe_dump(values), "utf-8")
        return own_clone

    return configure


@pytest.mark.slow
def test_a_dry_run_in_which_a_source_fails_tells_what_it_would_do_and_ends_with_1(with_sources):
    clone = with_sources(desk=SAMPLE, gone="/no/such")
    done = clone.call("retrain", "--dry-run", "--json")
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    report = json.loads(done.stdout)
    assert report["outcome"] == "train" and report["rows"]["desk"] > 1000
    assert "/no/such" in report["failures"]["gone"]


@pytest.mark.slow
def test_rows_that_the_newest_version_was_made_from_are_not_counted_as_new(own_clone, monkeypatch, register_tiny):
    """The first retraining after runs by hand: the intake is empty, and the checkout has them all."""
    clone, rows = own_clone, pd.read_csv(SAMPLE, dtype=str, keep_default_na=False)
    columns = ["--text", "body", "--label", "queue", "--id", "ticket_id", "--group", "customer_id"]
    rows[:100].to_csv(clone.folder / "first.csv", index=False)
    assert clone.call("ingest", "first.csv", *columns).returncode == 0
    monkeypatch.chdir(clone.folder)
    registered_from(clone, register_tiny)
    rows[100:107].to_csv(clone.folder / "second.csv", index=False)
    assert clone.call("ingest", "second.csv", *columns).returncode == 0
    report = json.loads(clone.call("retrain", "--dry-run", "--json").stdout)
    assert (report["rows"], report["known"]) == ({"this checkout": 7}, {"this checkout": 100})
    assert report["inputs"]["new_rows"] == 7


def registered_from(clone, register_tiny):
    """Registers version 1, with a lock file that says it was made from data/raw as it is."""
    raw = intake_branch.md5((clone.folder / "data/raw.dvc").read_bytes())
    deps = [{"path": "data/raw", "md5": raw}, {"path": "data/suppressed.json", "md5": "0" * 32}]
    lock = {"schema": "2.0", "stages": {"curate": {"cmd": "x", "deps": deps}}}
    (clone.folder / "dvc.lock").write_text(yaml.safe_dump(lock), "utf-8")
    clone.git("add", "-f", "dvc.lock")
    clone.git("-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qm", "made")
    register_tiny("classifier")
    clone.git("rm", "-q", "dvc.lock")
    clone.git("-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qm", "as it was")
