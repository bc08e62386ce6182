"""What an auditor asks of a real run: its record, questions and answers, and the same with plain tools."""

import json
import re
import shutil
import sqlite3
from contextlib import chdir
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from retune.documents import bom, data_card, model_card, provenance, verification_commands
from retune.lineage import history, record
from tests.support.lineage_answers import ask, folder_of, plain, wrong

pytestmark = pytest.mark.slow


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
    assert (folder_of() / "data_card.md").read_text("utf-8") == data_card.data_card(record_facts)
    assert "<html" in (folder_of() / "lineage.html").read_text("utf-8")


def test_what_was_not_committed_is_in_the_record(registered_clone):
    commit = ask(registered_clone, "lineage", "model", "classifier/1")["record"]["code"]["record_commit"]
    assert registered_clone.git("show", f"{commit}:Makefile") == "staged:\n"


def test_the_bytes_of_a_version_are_in_the_remote(registered_clone):
    names_in_store = {file.name for file in (registered_clone.folder / "store").rglob("*") if file.is_file()}
    tags = ask(registered_clone, "models")[0]["data"]
    assert all(md5[2:] in names_in_store for md5 in tags.values())


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
    done = registered_clone.call("lineage", "model", "classifier/1", "--all")
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
