"""A real registry in a SQLite file, and versions that hold a record and no model."""

import json
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.support.environment import ROOT


@pytest.fixture(scope="session")
def registry_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(autouse=True)
def registry_address(monkeypatch):
    """Takes back what a test has `mlflow.set_tracking_uri` write into the environment, where the next would find it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")


@pytest.fixture
def sqlite_registry(registry_folder, monkeypatch):
    """A real registry in a SQLite file, one a session, since making its tables takes seconds: names are the test's."""
    monkeypatch.chdir(registry_folder)
    return registry_folder


@pytest.fixture(scope="session")
def register_tiny():
    """Registers, in the repository and registry of the current folder, a version that holds a record and no model.

    Its first entry stands in the history, in the future: each entry is a second after the one before, and nobody
    waits for one that is to come. Without `enter`, it is left to the caller to admit the version.
    """

    def make(name, decision="champion", champion=None, fingerprint=None, enter=True):
        from datetime import UTC, datetime

        from retune.lineage import checksums, history, record
        from retune.registry import reload_check, runs, versions
        from retune.system.files import file_sha256

        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        record_template = json.loads((ROOT / "tests/support/record.json").read_text("utf-8"))
        gate = {**record_template["gate"], "decision": decision, "champion": champion}
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            (folder / "MLmodel").write_text("{}")
            record.write({**record_template, "name": name, "gate": gate}, folder / record.FILE)
            evidence, seal = file_sha256(folder / record.FILE), checksums.write(folder)
            tags = {
                "fingerprint": fingerprint or folder.name,
                "evidence": evidence,
                "seal": seal,
                reload_check.RELOADED: "yes",
            }
            with runs.run(name, "run", {}) as run_id:
                if not enter:
                    data = {f"data.{part}": fingerprint for part in ("raw", "train", "val", "test")}
                    extra_tags = {"record.commit": commit, "signer": "unsigned", **data}
                    return versions.add_version(name, run_id, folder, {**tags, **extra_tags})
                version = versions.add_version(name, run_id, folder, tags)
        sides = {side.capitalize(): split["md5"] for side, split in record_template["data"]["sides"].items()}
        facts = {"Record": commit, "Evidence": evidence, "Seal": seal, **sides}
        future = datetime(2060, 1, 1, tzinfo=UTC)
        history.append(name, version.version, history.REGISTERED, ["why"], facts, versions.anchor, future)
        versions.set_alias(version, versions.CHALLENGER)
        return versions.find(name, version=version.version)

    return make
