"""What comes in, and from a folder in which some files are bad: with the real ingest, DVC and git, in a clone each."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
import yaml

from flows.retraining import intake
from retune.config.sources import Columns
from retune.data.readers.records import Reading
from tasks.fetch.fetch import Batch
from tasks.ingest import Rules
from tests.support.environment import READING

HEAD = "id,body,queue\n"
BRING_IN = """
import json, sys
from flows.project import environment
environment.activate_project()
from flows.retraining import intake
from retune.data import intake_branch; from retune.config import params; from retune.system import dvc_store
import pyarrow.parquet as pq; from tasks.ingest import Rules
config = params.load()
done = intake.fetch_sources(config.fetch, Rules.of(config), lambda _: None, enter=len(sys.argv) == 1)
listed = dvc_store.listing(done.raw)
parts = [dvc_store.open_bytes(md5) for path, md5 in sorted(listed.items()) if path.endswith(".parquet")]
ids = sorted(name for part in parts for name in pq.read_table(part, columns=["id"])["id"].to_pylist())
print(json.dumps({"rows": done.rows, "failures": done.failures, "ids": ids, "commit": intake_branch.read().commit}))
"""


COLUMNS = {"text": "body", "label": "queue", "id": "id", "group": None, "split": None, "rejected": None, "keep": []}


@pytest.mark.slow
def test_good_files_come_in_once_while_bad_ones_are_told_and_come_when_they_are_mended(own_clone, tmp_path_factory):
    drop = tmp_path_factory.mktemp("drop")
    read_from(own_clone, {"kind": "files", "name": "desk", "path": str(drop), "reading": READING})
    (drop / "a.csv").write_text(HEAD + "1,the first words,x\n")
    (drop / "b.csv").write_bytes(HEAD.encode() + b"2,caf\xe9,x\n")
    (drop / "c.csv").write_text(HEAD + "3,these words,x\n3,other words,x\n")  # a table, and only ingest refuses it
    (drop / "d.csv").write_text(HEAD + "4,the fourth words,x\n")
    first = bring_in(own_clone)
    assert (first["ids"], first["rows"]) == (["1", "4"], {"desk": 2})
    reason = first["failures"]["desk"]
    assert f"{drop / 'b.csv'} is not UTF-8" in reason and str(drop / "c.csv") in reason and ".retune" not in reason
    again = bring_in(own_clone)
    assert again["ids"] == ["1", "4"] and again["rows"] == {} and again["commit"] == first["commit"]
    assert str(drop / "c.csv") in again["failures"]["desk"]
    (drop / "b.csv").write_text(HEAD + "2,coffee,x\n")
    (drop / "c.csv").write_text(HEAD + "3,these words,x\n")
    last = bring_in(own_clone)
    assert (last["ids"], last["failures"]) == (["1", "2", "3", "4"], {})
    assert bring_in(own_clone)["commit"] == last["commit"]


def test_a_file_is_ingested_as_its_source_says_that_it_is_read(tmp_path):
    file = tmp_path / "a.csv"
    file.write_bytes("1;café;x\n2;thé;y\n".encode("cp1252"))
    columns = Columns(**{**COLUMNS, "id": "column 1", "text": "column 2", "label": "column 3"})
    batch = Batch("desk", "files", (file,), 0, {"files": {}}, columns, None, None, places=(str(file),))
    rules = Rules("classify", 0.0)
    assert "is not UTF-8" in intake.read_closely(batch, {}, print, rules).refused[0]
    stated = replace(batch, reading=Reading(";", "cp1252", False))
    assert intake.read_closely(stated, {}, print, rules).rows == 2


@pytest.mark.slow
def test_a_late_row_comes_in_once_though_its_source_has_moved_no_further(own_clone, tmp_path_factory):
    path = tmp_path_factory.mktemp("crm") / "desk.db"
    crm = {"kind": "sql", "name": "crm", "url_env": "CRM_URL", "cursor_type": "number", "cursor_column": "changed"}
    query = "SELECT id, body, queue, changed FROM tickets WHERE changed >= :cursor - 10"
    read_from(own_clone, {**crm, "query": query, "cursor_start": "0"})
    own_clone.env["CRM_URL"] = f"sqlite:///{path}"
    enter(
        path,
        "CREATE TABLE tickets (id, body, queue, changed)",
        "INSERT INTO tickets VALUES ('0', 'an old one', 'x', 19), ('1', 'a new one', 'x', 20)",
    )
    first = bring_in(own_clone)
    enter(path, "INSERT INTO tickets VALUES ('2', 'a late one', 'x', 15)")
    looked = bring_in(own_clone, "only to look")
    assert (looked["rows"], looked["commit"]) == ({"crm": 1}, first["commit"])
    late = bring_in(own_clone)
    assert (late["rows"], late["ids"]) == ({"crm": 1}, ["0", "1", "2"]) and late["commit"] != first["commit"]
    again = bring_in(own_clone)
    assert (again["rows"], again["ids"], again["commit"]) == ({}, ["0", "1", "2"], late["commit"])


@pytest.mark.slow
def test_who_only_looks_sends_nothing_to_the_remote(own_clone, tmp_path_factory):
    drop, remote = tmp_path_factory.mktemp("drop"), tmp_path_factory.mktemp("remote")
    own_clone.dvc("remote", "add", "--default", "store", remote)
    read_from(own_clone, {"kind": "files", "name": "desk", "path": str(drop), "reading": READING})
    (drop / "a.csv").write_text(HEAD + "1,the first words,x\n")
    assert bring_in(own_clone, "only to look")["rows"] == {"desk": 1}
    assert list(remote.iterdir()) == []
    bring_in(own_clone)
    assert list(remote.iterdir())


def read_from(clone, source):
    path = clone.folder / "params.yaml"
    values = yaml.safe_load(path.read_text("utf-8"))
    values["fetch"] |= {"settle_seconds": 0.0}
    values["fetch"]["sources"] = [{**source, "columns": COLUMNS, "licence": None, "collected": None}]
    path.write_text(yaml.safe_dump(values), "utf-8")


def enter(path, *statements):
    with closing(sqlite3.connect(path)) as database:
        for each in statements:
            database.execute(each)
        database.commit()


def bring_in(clone, *only_to_look):
    done = clone.python("-c", BRING_IN, *only_to_look)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
