"""What an auditor asks of a real run: signed, with a remote, on a slice of the sample, method probe.

The tests share one clone with one registered version; whoever changes something puts it back.
"""

import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import zlib
from contextlib import chdir, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from filelock import FileLock

from flows.project import environment
from retune.data import suppression
from retune.documents import bom, model_card, provenance, verification_commands
from retune.errors import Broken, Refused, WrongUse
from retune.lineage import history, record
from retune.models import base_model
from retune.registry import backend, versions
from tasks.trace import checks, recomputed, verify

QUEUES = ["billing", "delivery", "sign_in", "refunds"]


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
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


def ask(registered_clone, *arguments, code=0):
    """The JSON that a command answers."""
    done = registered_clone.call(*arguments, "--json")
    assert done.returncode == code, done.stdout[-2000:] + done.stderr
    return json.loads(done.stdout)


def wrong(links):
    return [link["name"] for link in links if not link["ok"]]


def folder_of(version="1"):
    return versions.version_folder(versions.resolve(f"classifier/{version}"))


# ---- the record


def test_the_users_branch_and_index_are_left_as_they_were(registered_clone):
    assert (
        registered_clone.git("rev-parse", "HEAD"),
        registered_clone.git("status", "--porcelain", "Makefile"),
    ) == registered_clone.before


def test_a_version_carries_its_record_and_what_follows_from_it(restored_clone):
    record_facts = record.read(folder_of() / record.FILE)
    assert record_facts["started"]["command"].startswith("retune run -S train.method=probe")
    assert "train: it has not run yet" in record_facts["started"]["why"]
    assert record_facts["data"]["sources"]["slice"]["licence"] == "CC0-1.0"
    assert record_facts["data"]["sources"]["slice"]["collected"] == "2025-01/2025-06"
    sides = record_facts["data"]["sides"]
    assert sum(side["rows"] for side in sides.values()) == record_facts["data"]["curated"]["rows"]
    assert (
        record_facts["data"]["curated"]["rows"] + record_facts["data"]["rejected"]["rows"]
        == record_facts["data"]["raw"]["rows"]
    )
    assert record_facts["code"]["dirty"] is True
    assert record_facts["gate"]["decision"] == "champion"
    assert json.loads((folder_of() / "bom.json").read_text()) == bom.bom(record_facts)
    assert json.loads((folder_of() / "provenance.json").read_text()) == provenance.provenance(record_facts)
    assert (folder_of() / "model_card.md").read_text("utf-8") == model_card.model_card(record_facts)
    assert "<html" in (folder_of() / "lineage.html").read_text("utf-8")


def test_what_was_not_committed_is_in_the_record(registered_clone):
    commit = ask(registered_clone, "lineage", "model", "classifier/1")["record"]["code"]["record_commit"]
    assert registered_clone.git("show", f"{commit}:Makefile") == "staged:\n"


def test_the_bytes_of_a_version_are_in_the_remote(registered_clone):
    names_in_store = {file.name for file in (registered_clone.folder / "store").rglob("*") if file.is_file()}
    tags = ask(registered_clone, "models")[0]["data"]
    assert all(md5[2:] in names_in_store for md5 in tags.values())


# ---- questions and answers


def test_the_way_back_holds_link_by_link(registered_clone, tmp_path):
    lineage = ask(registered_clone, "lineage", "model", "classifier@champion", "--html", str(tmp_path / "page.html"))
    assert set(lineage) == {"name", "version", "ok", "links", "record"}
    assert (lineage["name"], lineage["version"], lineage["ok"]) == ("classifier", 1, True)
    assert all(set(link) == {"name", "expected", "found", "ok"} for link in lineage["links"])
    assert wrong(lineage["links"]) == []
    names = {link["name"] for link in lineage["links"]}
    assert {"record", "model/signature", "base weights", "data/splits/train.parquet", "gate", "dvc.lock"} <= names
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "classifier/1" in page and lineage["record"]["fingerprint"] in page


def test_the_table_shows_a_mark_for_each_link(registered_clone):
    done = registered_clone.call("lineage", "model", "classifier/1")
    assert done.returncode == 0, done.stderr
    assert "✗" not in done.stdout
    assert "links hold, each recomputed now" in done.stdout.splitlines()[-1]
    assert done.stdout.count("✓") > 60


def test_a_row_is_traced_to_the_version_and_side_that_saw_it(registered_clone):
    train = pd.read_parquet(registered_clone.folder / "data/splits/train.parquet").iloc[3]
    row = ask(registered_clone, "lineage", "row", train["id"])
    assert row["row"] == train["id"]
    (version_seen,) = row["versions"]
    assert (version_seen["name"], version_seen["version"], version_seen["side"], version_seen["aliases"]) == (
        "classifier",
        1,
        "train",
        ["champion"],
    )
    assert version_seen["served"][0]["to"] is None
    assert version_seen["content"]["text"] == train["text"]
    missing = ask(registered_clone, "lineage", "row", "nobody", code=1)
    assert missing["versions"] == [] and missing["free"] == ["classifier/1"]


def test_data_is_traced_by_path_and_by_hash(registered_clone):
    md5 = ask(registered_clone, "models")[0]["data"]
    by_path = ask(registered_clone, "lineage", "data", "data/splits/test.parquet")
    assert by_path["hash"] == md5["test"]
    assert [
        (version_seen["name"], version_seen["version"], version_seen["side"]) for version_seen in by_path["versions"]
    ] == [("classifier", 1, "test")]
    assert ask(registered_clone, "lineage", "data", md5["test"]) == by_path
    assert ask(registered_clone, "lineage", "data", "data/raw")["versions"][0]["side"] == "raw"
    (part,) = (registered_clone.folder / "data/raw").glob("*.parquet")
    assert ask(registered_clone, "lineage", "data", str(part))["versions"][0]["side"] == "raw"
    assert ask(registered_clone, "lineage", "data", "0" * 32, code=1)["versions"] == []
    for target in ("nowhere", "", "/"):
        done = registered_clone.call("lineage", "data", target)
        assert done.returncode == 1 and "is no hash of DVC's, no file" in done.stderr
    assert registered_clone.call("lineage", "data", "x" * 5000).returncode == 2
    assert registered_clone.call("lineage", "row", "\udcff").returncode == 2, "not UTF-8"


def test_the_history_says_who_was_champion_when(registered_clone):
    registered, crowned = ask(registered_clone, "history", "classifier")
    assert (registered["event"], crowned["event"]) == ("registered", "champion")
    assert "beats the base" in crowned["why"][0]
    assert crowned["previous"] == registered["sha256"]
    assert crowned["evidence"] == registered["evidence"]
    assert ask(registered_clone, "history", "classifier", "--at", crowned["at"])["champion"] == "classifier/1"
    before = (datetime.fromisoformat(registered["at"]) - timedelta(days=1)).isoformat()
    assert ask(registered_clone, "history", "classifier", "--at", before, code=1)["champion"] is None
    assert ask(registered_clone, "history", "--verify")["ok"]
    assert registered_clone.call("history", "--at", "yesterday").returncode == 2
    assert registered_clone.call("history", "nobody").returncode == 1
    assert registered_clone.call("history", "class*").returncode == 1
    for name in ("nobody", "", "class*"):
        assert "nothing to verify" in registered_clone.call("history", name, "--verify").stderr


def test_everything_as_one_yes(registered_clone):
    assert ask(registered_clone, "verify", "classifier/1")["ok"]
    assert registered_clone.call("verify", "classifier/9").returncode == 1
    assert registered_clone.call("verify", "classifier").returncode == 2


# ---- with plain tools


def plain(command, folder):
    """What a shell prints that has git, dvc, gto and sha256sum, and no Retune."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_plain_tools_tell_the_same(registered_clone):
    record_facts = ask(registered_clone, "lineage", "model", "classifier/1")["record"]
    commit, md5 = record_facts["code"]["record_commit"], record_facts["data"]["sides"]["train"]["md5"]
    registered, crowned = ask(registered_clone, "history", "classifier")
    tag_text = plain(f"git show '{crowned['tag']}'", registered_clone.folder)
    assert f"Previous: {registered['sha256']}" in tag_text and "beats the base" in tag_text
    assert (
        plain(f"git cat-file tag '{registered['tag']}' | sha256sum", registered_clone.folder).split()[0]
        == registered["sha256"]
    )
    assert crowned["tag"] in plain("gto history classifier", registered_clone.folder)
    assert (
        plain(f"git show {commit}:dvc.lock | md5sum", registered_clone.folder).split()[0]
        == record_facts["pipeline"]["lock_md5"]
    )
    assert plain(f"md5sum .dvc/cache/files/md5/{md5[:2]}/{md5[2:]}", registered_clone.folder).split()[0] == md5
    with sqlite3.connect(registered_clone.folder / ".retune/mlflow.db") as database:
        query = "select source from model_versions where name = 'classifier' and version = 1"
        ((source,),) = database.execute(query)
        ((champion,),) = database.execute("select version from registered_model_aliases where alias = 'champion'")
    model = Path(source.removeprefix("file://"))
    assert champion == 1
    assert "FAILED" not in plain("sha256sum -c SHA256SUMS", model)
    seal = plain("sha256sum SHA256SUMS", model).split()[0]
    assert f"Seal: {seal}" in tag_text
    signer = plain("sha256sum signer.pub", model).split()[0]
    assert f"Signer: {signer}" in tag_text
    evidence = plain("sha256sum lineage.json", model).split()[0]
    assert f"Evidence: {evidence}" in tag_text
    changes = f"git diff-tree -p --binary --full-index {record_facts['code']['commit']} {commit} | sha256sum"
    assert plain(changes, registered_clone.folder).split()[0] == record_facts["code"]["diff_sha256"]


def test_an_auditor_needs_no_retune(registered_clone):
    """The first block of the page for auditors, typed as it stands."""
    page = (registered_clone.folder / "docs/how-to/audit/check-without-retune.md").read_text("utf-8")
    block = re.search(r"^None of it needs Retune.*?^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[1]
    if missing := [tool for tool in ("sqlite3", "sha256sum", "md5sum") if not shutil.which(tool)]:
        pytest.skip(f"this machine has no {', '.join(missing)}")
    assert "retune " not in block
    output = plain(f"set -eu\n{block}", registered_clone.folder)
    try:
        record_facts = ask(registered_clone, "lineage", "model", "classifier/1")["record"]
        registered, crowned = ask(registered_clone, "history", "classifier")[:2]
        for hash_ in (registered["facts"]["Seal"], registered["facts"]["Evidence"]):
            assert output.count(hash_) >= 2, "computed again, and in the history"
        assert crowned["previous"] in output
        assert record_facts["pipeline"]["lock_md5"] in output
        assert crowned["tag"] in output
        assert output.rstrip().endswith("Data and pipelines are up to date.")
    finally:
        registered_clone.git("worktree", "remove", "--force", ".retune/as-it-was")


def test_the_commands_that_the_page_gives_say_what_it_says_they_print(registered_clone):
    record_facts = ask(registered_clone, "lineage", "model", "classifier/1")["record"]
    with chdir(registered_clone.folder):
        entries = history.read("classifier").entries
    mine = [entry for entry in entries if entry.version == 1]
    steps = verification_commands.commands(record_facts, "1", entries, mine)
    for command in (*steps["Code, params and environment"], *steps["Data"]):
        if verification_commands.AGAIN in command.text:  # makes a folder beside the clone
            continue
        output = plain(command.text, registered_clone.folder)
        assert command.prints in output or command.prints.startswith("OK"), command.text


# ---- tampering


@contextmanager
def changed(path, change):
    """A file with other bytes, for a while."""
    before, mode = path.read_bytes(), path.stat().st_mode
    path.chmod(0o644)
    try:
        path.write_bytes(change(before))
        yield
    finally:
        path.write_bytes(before)
        path.chmod(mode)


def flip(draw):
    def change(content):
        flipped = bytearray(content)
        flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
        return bytes(flipped)

    return change


def flip_object(draw):
    """A bit of what a git object says; its file is written anew around it."""

    def change(content):
        head, _, body = zlib.decompress(content).partition(b"\0")
        return zlib.compress(head + b"\0" + flip(draw)(body))

    return change


def targets(registered_clone):
    """What may be damaged: what it is -> the file, how, and what a link that fails is called."""
    version = versions.resolve("classifier/1")
    folder, record_facts = versions.version_folder(version), record.read(versions.version_folder(version) / record.FILE)
    cache = registered_clone.folder / ".dvc/cache/files/md5"
    md5s = {side: record_facts["data"]["sides"][side]["md5"] for side in ("train", "val", "test")}
    places = {
        f"{side} split in the cache": (cache / md5[:2] / md5[2:], flip, f"data/splits/{side}.parquet")
        for side, md5 in md5s.items()
    }
    (weights,) = folder.rglob("head.safetensors")
    for name, path in {
        "model weights": weights,
        "record": folder / "lineage.json",
        "signature": folder / "model.sig",
        "public key": folder / "signer.pub",
        "checksums": folder / "SHA256SUMS",
        "served code": folder / "pyfunc.py",
    }.items():
        places[name] = (path, flip, f"model/{path.relative_to(folder)}")
    places["base"] = (registered_clone.folder / "base/model.safetensors", flip, "base weights")
    places["tokenizer of the base"] = (registered_clone.folder / "base/tokenizer.json", flip, "base/tokenizer.json")
    for entry in history.read("classifier").entries:
        name = registered_clone.git("rev-parse", f"refs/tags/{entry.tag}").strip()
        places[entry.tag] = (registered_clone.folder / ".git/objects" / name[:2] / name[2:], flip_object, "history")
    return places


def failing(version):
    """The names of all links of `retune verify` that fail; a refusal counts by its words."""
    try:
        return wrong_links([*verify.model(version).links, *verify.chain(version.name)])
    except (Refused, Broken, WrongUse) as error:
        return [str(error)]


def wrong_links(links):
    return [link.name for link in links if not link.ok]


def flips(restored_clone, count):
    draw, version, kinds = random.Random(count), versions.resolve("classifier/1"), targets(restored_clone)
    assert failing(version) == []
    for number in range(count):
        kind = list(kinds)[number % len(kinds)]
        path, how, named = kinds[kind]
        with changed(path, how(draw)):
            faults = failing(version)
        assert any(named.rsplit("/", 1)[-1] in name for name in faults), f"a flipped bit in the {kind}: {faults}"
    assert failing(version) == []


def test_a_flipped_bit_is_found_and_named_wherever_it_is(restored_clone):
    flips(restored_clone, 2 * len(targets(restored_clone)))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_of_two_hundred_flipped_bits_none_is_missed(restored_clone):
    flips(restored_clone, 200)


def test_a_damaged_model_is_not_loaded_and_the_file_is_named(restored_clone):
    (weights,) = folder_of().rglob("head.safetensors")
    with changed(weights, lambda content: content[:-1] + bytes([content[-1] ^ 1])):
        done = restored_clone.call("predict", "classifier@champion", "where is my parcel")
    assert done.returncode == 1
    assert "head.safetensors" in done.stderr and "not what was registered" in done.stderr


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_model_whose_base_is_another_is_not_loaded_and_the_file_is_named(restored_clone, file):
    with changed(restored_clone.folder / "base" / file, lambda content: content + b" "):
        done = restored_clone.call("predict", "classifier@champion", "where is my parcel")
    assert done.returncode == 1
    assert file in done.stderr and "needs the base" in done.stderr


def test_only_the_trusted_key_is_trusted(restored_clone, keys):
    trusting = type(restored_clone)(
        restored_clone.folder, {**restored_clone.env, "RETUNE_PUBLIC_KEY": str(keys / "mine.pub")}
    )
    assert ask(trusting, "verify", "classifier/1")["ok"]
    trusting.env["RETUNE_PUBLIC_KEY"] = str(keys / "others.pub")
    assert wrong(ask(trusting, "verify", "classifier/1", code=1)["links"]) == ["model/signature"]
    assert trusting.call("predict", "classifier/1", "hello").returncode == 1


def test_an_alias_moved_behind_retunes_back_is_found(restored_clone):
    client = backend.client()
    client.delete_registered_model_alias("classifier", "champion")
    try:
        history_check = ask(restored_clone, "history", "--verify", code=1)
        assert wrong(history_check["links"]) == ["classifier@champion"]
        assert not ask(restored_clone, "verify", "classifier/1", code=1)["ok"]
    finally:
        client.set_registered_model_alias("classifier", "champion", "1")
    assert ask(restored_clone, "history", "--verify")["ok"]


def test_a_version_that_was_deleted_is_found(registered_clone, tmp_path):
    copy = shutil.copy(registered_clone.folder / ".retune/mlflow.db", tmp_path / "mlflow.db")
    elsewhere = type(registered_clone)(
        registered_clone.folder, {**registered_clone.env, "MLFLOW_TRACKING_URI": f"sqlite:///{copy}"}
    )
    mlflow.MlflowClient(f"sqlite:///{copy}").delete_model_version("classifier", "1")
    history_check = ask(elsewhere, "history", "--verify", code=1)
    assert {"classifier/1", "classifier@champion"} <= set(wrong(history_check["links"]))
    assert elsewhere.call("verify", "classifier/1").returncode == 1


def test_an_entry_of_the_history_that_was_removed_is_found(registered_clone):
    tag = ask(registered_clone, "history", "classifier")[-1]["tag"]
    object_name = registered_clone.git("rev-parse", f"refs/tags/{tag}").strip()
    registered_clone.git("tag", "-d", tag)
    try:
        assert "history, last entry" in wrong(ask(registered_clone, "history", "--verify", code=1)["links"])
        for question in (("lineage", "row", "T-00001"), ("lineage", "data", "data/raw"), ("history", "classifier")):
            done = registered_clone.call(*question)
            assert done.returncode == 1 and "the history is not whole" in done.stderr, question
    finally:
        registered_clone.git("update-ref", f"refs/tags/{tag}", object_name)
    assert ask(registered_clone, "history", "--verify")["ok"]


def test_bytes_come_from_the_remote_and_when_they_are_gone_that_is_said(registered_clone):
    cache, store = registered_clone.folder / ".dvc/cache", registered_clone.folder / "store"
    cache.rename(registered_clone.folder / ".dvc/away")
    try:
        assert ask(registered_clone, "lineage", "model", "classifier/1")["ok"]
        store.rename(registered_clone.folder / "base/away")
        try:
            lineage = ask(registered_clone, "lineage", "model", "classifier/1", code=1)
            missing = [link for link in lineage["links"] if not link["ok"]]
            assert {"data/raw", "data/splits/train.parquet"} <= {link["name"] for link in missing}
            assert all(link["found"] == checks.GONE for link in missing)
            done = registered_clone.call("lineage", "row", "T-00001")
            assert done.returncode == 1 and "bytes gone, hashes kept" in done.stderr
            assert "Traceback" not in done.stderr
            (part,) = (registered_clone.folder / "data/raw").glob("*.parquet")
            done = registered_clone.call("lineage", "data", part)
            assert done.returncode == 1 and "bytes gone, hashes kept" in done.stderr
        finally:
            (registered_clone.folder / "base/away").rename(store)
    finally:
        shutil.rmtree(cache, ignore_errors=True)
        (registered_clone.folder / ".dvc/away").rename(cache)


# ---- to build again, and to forget


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
