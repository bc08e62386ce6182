"""A version is built again to the bit, and a row is forgotten. Stands last: it registers a second version."""

import json

import pandas as pd
import pytest
from filelock import FileLock

from flows.project import environment
from retune.data import suppression
from retune.lineage import record
from tasks.trace import recomputed
from tests.support.lineage_answers import ask, folder_of, wrong, wrong_links

pytestmark = pytest.mark.slow


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_version_is_rebuilt_to_the_bit_after_the_branch_moved_on_and_its_outputs_were_deleted(registered_clone):
    (registered_clone.folder / "retune/models/manifest.py").write_text("raise SystemExit('the branch has moved on')\n")
    registered_clone.git("commit", "-qam", "moved on")
    outputs = [registered_clone.folder / path for path in ("models/candidate", "data/splits", "dvc.lock")]
    kept_folder = registered_clone.folder / "base/kept"
    kept_folder.mkdir()
    try:
        registered_clone.git(
            "checkout", "-q", "HEAD~1", "--", "retune/models/manifest.py"
        )  # the command itself must still run
        for path in outputs:
            path.rename(kept_folder / path.name)
        before = registered_clone.git("status", "--porcelain"), registered_clone.git("for-each-ref")
        done = registered_clone.retune("reproduce", "classifier/1", "--json", timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        report = json.loads(done.stdout)
        assert (report["ok"], report["proved"]) == (True, "bit-identical")
        assert wrong(report["compared"]) == []
        assert (registered_clone.git("status", "--porcelain"), registered_clone.git("for-each-ref")) == before
    finally:
        for path in outputs:
            (kept_folder / path.name).rename(path)
        kept_folder.rmdir()
        registered_clone.git("reset", "-q", "HEAD~1")


def test_nothing_is_forgotten_or_brought_in_while_a_run_is_at_work(registered_clone, monkeypatch):
    monkeypatch.setattr(environment, "BRIEFLY", 0.2)
    before = (registered_clone.folder / "data/suppressed.json").read_bytes()
    with FileLock(registered_clone.folder / ".retune/run.lock"):
        for words in (
            ("forget", "T-00001", "--reason", "asked"),
            ("ingest", str(registered_clone.folder / "slice.csv")),
        ):
            done = registered_clone.call(*words)
            assert done.returncode == 3 and "another run, ingest or forget is running" in done.stderr
    assert (registered_clone.folder / "data/suppressed.json").read_bytes() == before


def test_a_version_that_learned_from_a_suppressed_row_does_not_verify(restored_clone, tmp_path):
    record_facts = record.read(folder_of() / record.FILE)
    train = pd.read_parquet(restored_clone.folder / "data/splits/train.parquet")
    listed = suppression.add(suppression.NOTHING, [train["id"][0]], "asked", "me", "2026-01-01")
    suppression.write(listed, tmp_path / "suppressed.json")
    files_before = {"data/suppressed.json": (tmp_path / "suppressed.json").read_bytes()}
    assert wrong_links(recomputed.check_splits(record_facts, files_before)) == ["suppressed rows in train"]


def test_a_forgotten_row_is_not_in_the_next_version(registered_clone):
    """Stands last: it registers a second version."""
    name = pd.read_parquet(registered_clone.folder / "data/splits/train.parquet").iloc[5]["id"]
    unknown = registered_clone.call("forget", "T-99999", "--reason", "asked to")
    assert unknown.returncode == 1 and "T-99999" in unknown.stderr
    assert registered_clone.call("forget", name).returncode == 2, "no reason given"
    report = ask(registered_clone, "forget", name, "--reason", "the customer asked to be forgotten")
    assert report["added"] == [name]
    assert (report["learned"], report["serving"]) == (["classifier/1"], ["classifier/1"])
    assert name not in (registered_clone.folder / "data/suppressed.json").read_text("utf-8")
    done = registered_clone.retune("run", timeout=300)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    report = ask(registered_clone, "lineage", "row", name)
    assert [version_seen["version"] for version_seen in report["versions"]] == [1]
    assert report["free"] == ["classifier/2"]
    rejects = pd.read_parquet(registered_clone.folder / "data/curated/rejects.parquet").set_index("id")
    assert (rejects.loc[name, "reason"], rejects.loc[name, "text"]) == ("suppressed", "")
    diff = ask(registered_clone, "lineage", "diff", "classifier/1", "classifier/2")
    assert diff["rows"] == {"added": [], "removed": [name], "relabelled": {}, "moved": {}}
    assert (diff["params"], diff["code"], diff["base"]) == ({}, {}, {})
    assert ask(registered_clone, "verify", "classifier/1")["ok"]
    assert ask(registered_clone, "verify", "classifier/2")["ok"]
