"""One clone with one registered, signed version, shared by all tests of this folder; each puts back what it changes."""

import shutil

import mlflow
import pandas as pd
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from retune.models import base_model

QUEUES = ["billing", "delivery", "sign_in", "refunds"]


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    """Two pairs of keys: mine.pem and mine.pub, others.pem and others.pub."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("mine", "others"):
        key = ec.generate_private_key(ec.SECP256R1())
        pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        (folder / f"{name}.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
        public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        (folder / f"{name}.pub").write_bytes(public)
    return folder


@pytest.fixture(scope="session")
def registered_clone(new_clone, prefect_url, small_run_settings, keys, tmp_path_factory):
    """A clone with one finished, signed run; its base is a folder, so that a test may damage it."""
    registered_clone = new_clone(
        tmp_path_factory.mktemp("house"), PREFECT_API_URL=prefect_url, RETUNE_SIGNING_KEY=str(keys / "mine.pem")
    )
    tickets = pd.read_csv(registered_clone.folder / "tests/samples/tickets.csv", dtype="str", keep_default_na=False)
    tickets = tickets[tickets["queue"].isin(QUEUES)].groupby("queue").head(65)
    tickets.to_csv(registered_clone.folder / "slice.csv", index=False)
    shipped = yaml.safe_load((registered_clone.folder / "params.yaml").read_text("utf-8"))["train"]["base"]["name"]
    shutil.copytree(base_model.find(shipped), registered_clone.folder / "base")
    (registered_clone.folder / ".git/info/exclude").write_text("/base/\n/store/\n/slice.csv\n")
    assert registered_clone.dvc("remote", "add", "-d", "store", str(registered_clone.folder / "store")).returncode == 0
    registered_clone.git("commit", "-qam", "a store for the bytes")
    (registered_clone.folder / "Makefile").write_text("staged:\n")
    registered_clone.git("add", "Makefile")  # somebody is at work
    registered_clone.before = (
        registered_clone.git("rev-parse", "HEAD"),
        registered_clone.git("status", "--porcelain", "Makefile"),
    )
    columns = ["--text", "body", "--label", "queue", "--id", "ticket_id", "--group", "customer_id"]
    stated = ["--licence", "CC0-1.0", "--collected", "2025-01/2025-06"]
    ingested = registered_clone.retune("ingest", "slice.csv", *columns, *stated)
    assert ingested.returncode == 0, ingested.stderr
    settings = {**small_run_settings, "train.base.name": f"folder:{registered_clone.folder}/base"}
    words = [word for key, value in settings.items() for word in ("-S", f"{key}={value}")]
    registered_clone.ran = registered_clone.retune("run", *words, timeout=300)
    assert registered_clone.ran.returncode == 0, registered_clone.ran.stdout + registered_clone.ran.stderr
    return registered_clone


@pytest.fixture
def restored_clone(registered_clone, monkeypatch):
    """The clone, entered, its registry opened in this process."""
    monkeypatch.chdir(registered_clone.folder)
    for name in ("MLFLOW_TRACKING_URI", "RETUNE_PUBLIC_KEY"):
        monkeypatch.delenv(name, raising=False)
    yield registered_clone
    mlflow.set_tracking_uri(None)
