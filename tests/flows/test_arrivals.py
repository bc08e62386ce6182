"""What comes in from a folder in which some files are bad: with the real ingest, DVC and git, in a clone of its own."""

import json

import pytest
import yaml

HEAD = "id,body,queue\n"
BRING_IN = """
import json
from flows import home
home.enter()
from flows import arrivals
from tasks.core import intake, params, store
import pyarrow.parquet as pq
done = arrivals.bring_in(params.load().fetch, lambda _: None)
listed = store.listing(done.raw)
parts = [store.open_bytes(md5) for path, md5 in sorted(listed.items()) if path.endswith(".parquet")]
ids = sorted(name for part in parts for name in pq.read_table(part, columns=["id"])["id"].to_pylist())
print(json.dumps({"rows": done.rows, "failures": done.failures, "ids": ids, "commit": intake.read().commit}))
"""


@pytest.mark.slow
def test_good_files_come_in_once_while_bad_ones_are_told_and_come_when_they_are_mended(own_clone, tmp_path_factory):
    drop = tmp_path_factory.mktemp("drop")
    columns = {"text": "body", "label": "queue", "id": "id", "group": None, "split": None}
    source = {"kind": "files", "name": "desk", "path": str(drop), "columns": columns}
    path = own_clone.folder / "params.yaml"
    values = yaml.safe_load(path.read_text("utf-8"))
    values["fetch"] |= {"settle_seconds": 0.0, "sources": [{**source, "licence": None, "collected": None}]}
    path.write_text(yaml.safe_dump(values), "utf-8")
    (drop / "a.csv").write_text(HEAD + "1,the first words,x\n")
    (drop / "b.csv").write_bytes(HEAD.encode() + b"2,caf\xe9,x\n")
    (drop / "c.csv").write_text(HEAD + "3,these words,x\n3,other words,x\n")  # a table, and only ingest refuses it
    (drop / "d.csv").write_text(HEAD + "4,the fourth words,x\n")
    first = bring_in(own_clone)
    assert (first["ids"], first["rows"]) == (["1", "4"], {"desk": 2})
    said = first["failures"]["desk"]
    assert f"{drop / 'b.csv'} is not UTF-8" in said and str(drop / "c.csv") in said and ".retune" not in said
    again = bring_in(own_clone)
    assert again["ids"] == ["1", "4"] and again["rows"] == {} and again["commit"] == first["commit"]
    assert str(drop / "c.csv") in again["failures"]["desk"]
    (drop / "b.csv").write_text(HEAD + "2,coffee,x\n")
    (drop / "c.csv").write_text(HEAD + "3,these words,x\n")
    last = bring_in(own_clone)
    assert (last["ids"], last["failures"]) == (["1", "2", "3", "4"], {})
    assert bring_in(own_clone)["commit"] == last["commit"]


def bring_in(clone):
    done = clone.python("-c", BRING_IN)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
