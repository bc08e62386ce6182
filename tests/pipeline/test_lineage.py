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
def house(new_clone, prefect_url, small_run_settings, keys, tmp_path_factory):
    """A clone with one finished, signed run; its base is a folder, so that a test may damage it."""
    made = new_clone(
        tmp_path_factory.mktemp("house"), PREFECT_API_URL=prefect_url, RETUNE_SIGNING_KEY=str(keys / "mine.pem")
    )
    tickets = pd.read_csv(made.folder / "tests/samples/tickets.csv", dtype="str", keep_default_na=False)
    tickets = tickets[tickets["queue"].isin(QUEUES)].groupby("queue").head(65)
    tickets.to_csv(made.folder / "slice.csv", index=False)
    shipped = yaml.safe_load((made.folder / "params.yaml").read_text("utf-8"))["train"]["base"]["name"]
    shutil.copytree(base_model.find(shipped), made.folder / "base")
    (made.folder / ".git/info/exclude").write_text("/base/\n/store/\n/slice.csv\n")
    assert made.dvc("remote", "add", "-d", "store", str(made.folder / "store")).returncode == 0
    made.git("commit", "-qam", "a store for the bytes")
    (made.folder / "Makefile").write_text("staged:\n")
    made.git("add", "Makefile")  # somebody is at work
    made.before = made.git("rev-parse", "HEAD"), made.git("status", "--porcelain", "Makefile")
    columns = ["--text", "body", "--label", "queue", "--id", "ticket_id", "--group", "customer_id"]
    stated = ["--licence", "CC0-1.0", "--collected", "2025-01/2025-06"]
    ingested = made.retune("ingest", "slice.csv", *columns, *stated)
    assert ingested.returncode == 0, ingested.stderr
    settings = {**small_run_settings, "train.base.name": f"folder:{made.folder}/base"}
    words = [word for key, value in settings.items() for word in ("-S", f"{key}={value}")]
    made.ran = made.retune("run", *words, timeout=300)
    assert made.ran.returncode == 0, made.ran.stdout + made.ran.stderr
    return made


@pytest.fixture
def here(house, monkeypatch):
    """The clone, entered, its registry opened in this process."""
    monkeypatch.chdir(house.folder)
    for name in ("MLFLOW_TRACKING_URI", "RETUNE_PUBLIC_KEY"):
        monkeypatch.delenv(name, raising=False)
    yield house
    mlflow.set_tracking_uri(None)


def ask(house, *arguments, code=0):
    """The JSON that a command answers."""
    done = house.call(*arguments, "--json")
    assert done.returncode == code, done.stdout[-2000:] + done.stderr
    return json.loads(done.stdout)


def wrong(links):
    return [link["name"] for link in links if not link["ok"]]


def folder_of(version="1"):
    return versions.version_folder(versions.resolve(f"classifier/{version}"))


# ---- the record


def test_the_users_branch_and_index_are_left_as_they_were(house):
    assert (house.git("rev-parse", "HEAD"), house.git("status", "--porcelain", "Makefile")) == house.before


def test_a_version_carries_its_record_and_what_follows_from_it(here):
    made = record.read(folder_of() / record.FILE)
    assert made["started"]["command"].startswith("retune run -S train.method=probe")
    assert "train: it has not run yet" in made["started"]["why"]
    assert made["data"]["sources"]["slice"]["licence"] == "CC0-1.0"
    assert made["data"]["sources"]["slice"]["collected"] == "2025-01/2025-06"
    sides = made["data"]["sides"]
    assert sum(side["rows"] for side in sides.values()) == made["data"]["curated"]["rows"]
    assert made["data"]["curated"]["rows"] + made["data"]["rejected"]["rows"] == made["data"]["raw"]["rows"]
    assert made["code"]["dirty"] is True
    assert made["gate"]["decision"] == "champion"
    assert json.loads((folder_of() / "bom.json").read_text()) == bom.bom(made)
    assert json.loads((folder_of() / "provenance.json").read_text()) == provenance.provenance(made)
    assert (folder_of() / "model_card.md").read_text("utf-8") == model_card.model_card(made)
    assert "<html" in (folder_of() / "lineage.html").read_text("utf-8")


def test_what_was_not_committed_is_in_the_record(house):
    commit = ask(house, "lineage", "model", "classifier/1")["record"]["code"]["record_commit"]
    assert house.git("show", f"{commit}:Makefile") == "staged:\n"


def test_the_bytes_of_a_version_are_in_the_remote(house):
    kept = {file.name for file in (house.folder / "store").rglob("*") if file.is_file()}
    tags = ask(house, "models")[0]["data"]
    assert all(md5[2:] in kept for md5 in tags.values())


# ---- questions and answers


def test_the_way_back_holds_link_by_link(house, tmp_path):
    told = ask(house, "lineage", "model", "classifier@champion", "--html", str(tmp_path / "page.html"))
    assert set(told) == {"name", "version", "ok", "links", "record"}
    assert (told["name"], told["version"], told["ok"]) == ("classifier", 1, True)
    assert all(set(link) == {"name", "expected", "found", "ok"} for link in told["links"])
    assert wrong(told["links"]) == []
    names = {link["name"] for link in told["links"]}
    assert {"record", "model/signature", "base weights", "data/splits/train.parquet", "gate", "dvc.lock"} <= names
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "classifier/1" in page and told["record"]["fingerprint"] in page


def test_the_table_shows_a_mark_for_each_link(house):
    done = house.call("lineage", "model", "classifier/1")
    assert done.returncode == 0, done.stderr
    assert "✗" not in done.stdout
    assert "links hold, each recomputed now" in done.stdout.splitlines()[-1]
    assert done.stdout.count("✓") > 60


def test_a_row_is_traced_to_the_version_and_side_that_saw_it(house):
    train = pd.read_parquet(house.folder / "data/splits/train.parquet").iloc[3]
    told = ask(house, "lineage", "row", train["id"])
    assert told["row"] == train["id"]
    (seen,) = told["versions"]
    assert (seen["name"], seen["version"], seen["side"], seen["aliases"]) == ("classifier", 1, "train", ["champion"])
    assert seen["served"][0]["to"] is None
    assert seen["content"]["text"] == train["text"]
    missing = ask(house, "lineage", "row", "nobody", code=1)
    assert missing["versions"] == [] and missing["free"] == ["classifier/1"]


def test_data_is_traced_by_path_and_by_hash(house):
    md5 = ask(house, "models")[0]["data"]
    by_path = ask(house, "lineage", "data", "data/splits/test.parquet")
    assert by_path["hash"] == md5["test"]
    assert [(seen["name"], seen["version"], seen["side"]) for seen in by_path["versions"]] == [
        ("classifier", 1, "test")
    ]
    assert ask(house, "lineage", "data", md5["test"]) == by_path
    assert ask(house, "lineage", "data", "data/raw")["versions"][0]["side"] == "raw"
    (part,) = (house.folder / "data/raw").glob("*.parquet")
    assert ask(house, "lineage", "data", str(part))["versions"][0]["side"] == "raw"
    assert ask(house, "lineage", "data", "0" * 32, code=1)["versions"] == []
    for target in ("nowhere", "", "/"):
        done = house.call("lineage", "data", target)
        assert done.returncode == 1 and "is no hash of DVC's, no file" in done.stderr
    assert house.call("lineage", "data", "x" * 5000).returncode == 2
    assert house.call("lineage", "row", "\udcff").returncode == 2, "no UTF-8"


def test_the_history_says_who_was_champion_when(house):
    registered, crowned = ask(house, "history", "classifier")
    assert (registered["event"], crowned["event"]) == ("registered", "champion")
    assert "beats the base" in crowned["why"][0]
    assert crowned["previous"] == registered["sha256"]
    assert crowned["evidence"] == registered["evidence"]
    assert ask(house, "history", "classifier", "--at", crowned["at"])["champion"] == "classifier/1"
    before = (datetime.fromisoformat(registered["at"]) - timedelta(days=1)).isoformat()
    assert ask(house, "history", "classifier", "--at", before, code=1)["champion"] is None
    assert ask(house, "history", "--verify")["ok"]
    assert house.call("history", "--at", "yesterday").returncode == 2
    assert house.call("history", "nobody").returncode == 1
    assert house.call("history", "class*").returncode == 1
    for name in ("nobody", "", "class*"):
        assert "nothing to verify" in house.call("history", name, "--verify").stderr


def test_everything_as_one_yes(house):
    assert ask(house, "verify", "classifier/1")["ok"]
    assert house.call("verify", "classifier/9").returncode == 1
    assert house.call("verify", "classifier").returncode == 2


# ---- with plain tools


def plain(command, folder):
    """What a shell prints that has git, dvc, gto and sha256sum, and no Retune."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_plain_tools_tell_the_same(house):
    told = ask(house, "lineage", "model", "classifier/1")["record"]
    commit, md5 = told["code"]["record_commit"], told["data"]["sides"]["train"]["md5"]
    registered, crowned = ask(house, "history", "classifier")
    shown = plain(f"git show '{crowned['tag']}'", house.folder)
    assert f"Previous: {registered['sha256']}" in shown and "beats the base" in shown
    assert plain(f"git cat-file tag '{registered['tag']}' | sha256sum", house.folder).split()[0] == registered["sha256"]
    assert crowned["tag"] in plain("gto history classifier", house.folder)
    assert plain(f"git show {commit}:dvc.lock | md5sum", house.folder).split()[0] == told["pipeline"]["lock_md5"]
    assert plain(f"md5sum .dvc/cache/files/md5/{md5[:2]}/{md5[2:]}", house.folder).split()[0] == md5
    with sqlite3.connect(house.folder / ".retune/mlflow.db") as database:
        query = "select source from model_versions where name = 'classifier' and version = 1"
        ((source,),) = database.execute(query)
        ((champion,),) = database.execute("select version from registered_model_aliases where alias = 'champion'")
    model = Path(source.removeprefix("file://"))
    assert champion == 1
    assert "FAILED" not in plain("sha256sum -c SHA256SUMS", model)
    seal = plain("sha256sum SHA256SUMS", model).split()[0]
    assert f"Seal: {seal}" in shown
    signer = plain("sha256sum signer.pub", model).split()[0]
    assert f"Signer: {signer}" in shown
    evidence = plain("sha256sum lineage.json", model).split()[0]
    assert f"Evidence: {evidence}" in shown
    changes = f"git diff-tree -p --binary --full-index {told['code']['commit']} {commit} | sha256sum"
    assert plain(changes, house.folder).split()[0] == told["code"]["diff_sha256"]


def test_an_auditor_needs_no_retune(house):
    """The first block of the page for auditors, typed as it stands."""
    page = (house.folder / "docs/how-to/audit/check-without-retune.md").read_text("utf-8")
    block = re.search(r"^None of it needs Retune.*?^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[1]
    if missing := [tool for tool in ("sqlite3", "sha256sum", "md5sum") if not shutil.which(tool)]:
        pytest.skip(f"this machine has no {', '.join(missing)}")
    assert "retune " not in block
    told = plain(f"set -eu\n{block}", house.folder)
    try:
        made = ask(house, "lineage", "model", "classifier/1")["record"]
        registered, crowned = ask(house, "history", "classifier")[:2]
        for hash_ in (registered["facts"]["Seal"], registered["facts"]["Evidence"]):
            assert told.count(hash_) >= 2, "computed again, and in the history"
        assert crowned["previous"] in told
        assert made["pipeline"]["lock_md5"] in told
        assert crowned["tag"] in told
        assert told.rstrip().endswith("Data and pipelines are up to date.")
    finally:
        house.git("worktree", "remove", "--force", ".retune/as-it-was")


def test_the_commands_that_the_page_gives_say_what_it_says_they_print(house):
    made = ask(house, "lineage", "model", "classifier/1")["record"]
    with chdir(house.folder):
        entries = history.read("classifier").entries
    mine = [entry for entry in entries if entry.version == 1]
    told = verification_commands.commands(made, "1", entries, mine)
    for command in (*told["Code, params and environment"], *told["Data"]):
        if verification_commands.AGAIN in command.text:  # makes a folder beside the clone
            continue
        said = plain(command.text, house.folder)
        assert command.prints in said or command.prints.startswith("OK"), command.text


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


def targets(house):
    """What may be damaged: what it is -> the file, how, and what a link that fails is called."""
    version = versions.resolve("classifier/1")
    folder, made = versions.version_folder(version), record.read(versions.version_folder(version) / record.FILE)
    cache = house.folder / ".dvc/cache/files/md5"
    md5s = {side: made["data"]["sides"][side]["md5"] for side in ("train", "val", "test")}
    found = {
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
        found[name] = (path, flip, f"model/{path.relative_to(folder)}")
    found["base"] = (house.folder / "base/model.safetensors", flip, "base weights")
    found["tokenizer of the base"] = (house.folder / "base/tokenizer.json", flip, "base/tokenizer.json")
    for entry in history.read("classifier").entries:
        name = house.git("rev-parse", f"refs/tags/{entry.tag}").strip()
        found[entry.tag] = (house.folder / ".git/objects" / name[:2] / name[2:], flip_object, "history")
    return found


def failing(version):
    """The names of all links of `retune verify` that fail; a refusal counts by its words."""
    try:
        return wrong_links([*verify.model(version).links, *verify.chain(version.name)])
    except Exception as error:
        assert type(error).__name__ in ("Refused", "Broken", "WrongUse"), error
        return [str(error)]


def wrong_links(links):
    return [link.name for link in links if not link.ok]


def flips(here, count):
    draw, version, kinds = random.Random(count), versions.resolve("classifier/1"), targets(here)
    assert failing(version) == []
    for number in range(count):
        kind = list(kinds)[number % len(kinds)]
        path, how, named = kinds[kind]
        with changed(path, how(draw)):
            found = failing(version)
        assert any(named.rsplit("/", 1)[-1] in name for name in found), f"a flipped bit in the {kind}: {found}"
    assert failing(version) == []


def test_a_flipped_bit_is_found_and_named_wherever_it_is(here):
    flips(here, 2 * len(targets(here)))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_of_two_hundred_flipped_bits_none_is_missed(here):
    flips(here, 200)


def test_a_damaged_model_is_not_loaded_and_the_file_is_named(here):
    (weights,) = folder_of().rglob("head.safetensors")
    with changed(weights, lambda content: content[:-1] + bytes([content[-1] ^ 1])):
        done = here.call("predict", "classifier@champion", "where is my parcel")
    assert done.returncode == 1
    assert "head.safetensors" in done.stderr and "not what was registered" in done.stderr


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_model_whose_base_is_another_is_not_loaded_and_the_file_is_named(here, file):
    with changed(here.folder / "base" / file, lambda content: content + b" "):
        done = here.call("predict", "classifier@champion", "where is my parcel")
    assert done.returncode == 1
    assert file in done.stderr and "needs the base" in done.stderr


def test_only_the_trusted_key_is_trusted(here, keys):
    trusting = type(here)(here.folder, {**here.env, "RETUNE_PUBLIC_KEY": str(keys / "mine.pub")})
    assert ask(trusting, "verify", "classifier/1")["ok"]
    trusting.env["RETUNE_PUBLIC_KEY"] = str(keys / "others.pub")
    assert wrong(ask(trusting, "verify", "classifier/1", code=1)["links"]) == ["model/signature"]
    assert trusting.call("predict", "classifier/1", "hello").returncode == 1


def test_an_alias_moved_behind_retunes_back_is_found(here):
    client = backend.client()
    client.delete_registered_model_alias("classifier", "champion")
    try:
        told = ask(here, "history", "--verify", code=1)
        assert wrong(told["links"]) == ["classifier@champion"]
        assert not ask(here, "verify", "classifier/1", code=1)["ok"]
    finally:
        client.set_registered_model_alias("classifier", "champion", "1")
    assert ask(here, "history", "--verify")["ok"]


def test_a_version_that_was_deleted_is_found(house, tmp_path):
    copy = shutil.copy(house.folder / ".retune/mlflow.db", tmp_path / "mlflow.db")
    elsewhere = type(house)(house.folder, {**house.env, "MLFLOW_TRACKING_URI": f"sqlite:///{copy}"})
    mlflow.MlflowClient(f"sqlite:///{copy}").delete_model_version("classifier", "1")
    told = ask(elsewhere, "history", "--verify", code=1)
    assert {"classifier/1", "classifier@champion"} <= set(wrong(told["links"]))
    assert elsewhere.call("verify", "classifier/1").returncode == 1


def test_an_entry_of_the_history_that_was_removed_is_found(house):
    tag = ask(house, "history", "classifier")[-1]["tag"]
    kept = house.git("rev-parse", f"refs/tags/{tag}").strip()
    house.git("tag", "-d", tag)
    try:
        assert "history, last entry" in wrong(ask(house, "history", "--verify", code=1)["links"])
        for question in (("lineage", "row", "T-00001"), ("lineage", "data", "data/raw"), ("history", "classifier")):
            done = house.call(*question)
            assert done.returncode == 1 and "the history is not whole" in done.stderr, question
    finally:
        house.git("update-ref", f"refs/tags/{tag}", kept)
    assert ask(house, "history", "--verify")["ok"]


def test_bytes_come_from_the_remote_and_when_they_are_gone_that_is_said(house):
    cache, store = house.folder / ".dvc/cache", house.folder / "store"
    cache.rename(house.folder / ".dvc/away")
    try:
        assert ask(house, "lineage", "model", "classifier/1")["ok"]
        store.rename(house.folder / "base/away")
        try:
            told = ask(house, "lineage", "model", "classifier/1", code=1)
            gone = [link for link in told["links"] if not link["ok"]]
            assert {"data/raw", "data/splits/train.parquet"} <= {link["name"] for link in gone}
            assert all(link["found"] == checks.GONE for link in gone)
            done = house.call("lineage", "row", "T-00001")
            assert done.returncode == 1 and "bytes gone, hashes kept" in done.stderr
            assert "Traceback" not in done.stderr
            (part,) = (house.folder / "data/raw").glob("*.parquet")
            done = house.call("lineage", "data", part)
            assert done.returncode == 1 and "bytes gone, hashes kept" in done.stderr
        finally:
            (house.folder / "base/away").rename(store)
    finally:
        shutil.rmtree(cache, ignore_errors=True)
        (house.folder / ".dvc/away").rename(cache)


# ---- to build again, and to forget


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_version_is_rebuilt_to_the_bit_after_the_branch_moved_on_and_its_outputs_were_deleted(house):
    (house.folder / "retune/models/manifest.py").write_text("raise SystemExit('the branch has moved on')\n")
    house.git("commit", "-qam", "moved on")
    outputs = [house.folder / path for path in ("models/candidate", "data/splits", "dvc.lock")]
    kept = house.folder / "base/kept"
    kept.mkdir()
    try:
        house.git("checkout", "-q", "HEAD~1", "--", "retune/models/manifest.py")  # the command itself must still run
        for path in outputs:
            path.rename(kept / path.name)
        before = house.git("status", "--porcelain"), house.git("for-each-ref")
        done = house.retune("reproduce", "classifier/1", "--json", timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        told = json.loads(done.stdout)
        assert (told["ok"], told["proved"]) == (True, "bit-identical")
        assert wrong(told["compared"]) == []
        assert (house.git("status", "--porcelain"), house.git("for-each-ref")) == before
    finally:
        for path in outputs:
            (kept / path.name).rename(path)
        kept.rmdir()
        house.git("reset", "-q", "HEAD~1")


def test_nothing_is_forgotten_or_brought_in_while_a_run_is_at_work(house, monkeypatch):
    monkeypatch.setattr(environment, "BRIEFLY", 0.2)
    before = (house.folder / "data/suppressed.json").read_bytes()
    with FileLock(house.folder / ".retune/run.lock"):
        for words in (("forget", "T-00001", "--reason", "asked"), ("ingest", str(house.folder / "slice.csv"))):
            done = house.call(*words)
            assert done.returncode == 3 and "another run, ingest or forget is running" in done.stderr
    assert (house.folder / "data/suppressed.json").read_bytes() == before


def test_a_version_that_learned_from_a_suppressed_row_does_not_verify(here, tmp_path):
    made = record.read(folder_of() / record.FILE)
    train = pd.read_parquet(here.folder / "data/splits/train.parquet")
    listed = suppression.add(suppression.NOTHING, [train["id"][0]], "asked", "me", "2026-01-01")
    suppression.write(listed, tmp_path / "suppressed.json")
    kept = {"data/suppressed.json": (tmp_path / "suppressed.json").read_bytes()}
    assert wrong_links(recomputed.check_splits(made, kept)) == ["suppressed rows in train"]


def test_a_forgotten_row_is_not_in_the_next_version(house):
    """Stands last: it registers a second version."""
    name = pd.read_parquet(house.folder / "data/splits/train.parquet").iloc[5]["id"]
    unknown = house.call("forget", "T-99999", "--reason", "asked to")
    assert unknown.returncode == 1 and "T-99999" in unknown.stderr
    assert house.call("forget", name).returncode == 2, "no reason given"
    told = ask(house, "forget", name, "--reason", "the customer asked to be forgotten")
    assert told["added"] == [name]
    assert (told["learned"], told["serving"]) == (["classifier/1"], ["classifier/1"])
    assert name not in (house.folder / "data/suppressed.json").read_text("utf-8")
    done = house.retune("run", timeout=300)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    told = ask(house, "lineage", "row", name)
    assert [seen["version"] for seen in told["versions"]] == [1]
    assert told["free"] == ["classifier/2"]
    rejects = pd.read_parquet(house.folder / "data/curated/rejects.parquet").set_index("id")
    assert (rejects.loc[name, "reason"], rejects.loc[name, "text"]) == ("suppressed", "")
    diff = ask(house, "lineage", "diff", "classifier/1", "classifier/2")
    assert diff["rows"] == {"added": [], "removed": [name], "relabelled": {}, "moved": {}}
    assert (diff["params"], diff["code"], diff["base"]) == ({}, {}, {})
    assert ask(house, "verify", "classifier/1")["ok"]
    assert ask(house, "verify", "classifier/2")["ok"]
