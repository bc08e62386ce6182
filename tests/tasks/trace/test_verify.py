"""The gate's decision, decided again from the bytes in a real DVC store."""

import copy
import hashlib
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

from retune.config import params
from retune.config.classification import Automation, OutOfScope
from retune.data import row_table
from retune.evaluation import automation
from retune.lineage import record
from retune.promotion import gate, gate_record
from retune.promotion.latency import Latency
from retune.system import dvc_store
from tasks.trace import checks, recomputed

ROWS = 120


def predictions(wrong):
    """What a model says of rows of two labels, wrong where told."""
    label = np.array(["bills", "parcels"] * (ROWS // 2))
    other = np.where(label == "bills", "parcels", "bills")
    columns = {"predicted": np.where(wrong, other, label), "base_predicted": other, "confidence": 0.9}
    return pd.DataFrame({"id": [f"r{n}" for n in range(ROWS)], "label": label, **columns})


PREDICTIONS, CHAMPION = predictions(np.arange(ROWS) < 5), predictions(np.arange(ROWS) >= 90)
TEST = PREDICTIONS[["id"]].assign(source=["desk", "shop"] * (ROWS // 2))
LATENCY = Latency(candidate=4.0, champion=2.0, ratio=1.2, texts=32, passes=5)


@pytest.fixture(scope="module")
def emptied_cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dvc")
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text("[core]\n    no_scm = True\n", "utf-8")
    return folder


@pytest.fixture
def put_in_cache(emptied_cache, monkeypatch, tmp_path):
    """Puts a frame in the DVC store and says under which hash; the store is empty again after the test."""
    monkeypatch.chdir(emptied_cache)

    def one(frame):
        row_table.write(frame, tmp_path / "kept.parquet")
        md5 = hashlib.md5((tmp_path / "kept.parquet").read_bytes()).hexdigest()
        dvc_store.cached(md5).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / "kept.parquet", dvc_store.cached(md5))
        return md5

    yield one
    shutil.rmtree(emptied_cache / ".dvc/cache", ignore_errors=True)


@pytest.fixture
def gated_record(put_in_cache, settings, tmp_path):
    """As much of a record as the gate needs, and the model's folder with the champion's predictions in it."""
    promote_config = params.parse(settings).promote
    old_rows = TEST.head(100)
    decision = gate.evaluate_gate(
        gate_record.with_source(PREDICTIONS, TEST), CHAMPION, promote_config, "m/1", set(old_rows["id"])
    )
    decision = gate.with_latency(decision, LATENCY, promote_config)
    assert decision.promote
    row_table.write(CHAMPION, tmp_path / record.CHAMPION_SAID)
    return {
        "schema_version": 2,
        "gate": gate_record.as_record(decision, promote_config, put_in_cache(old_rows)),
        "params": {"promote": settings["promote"]},  # an old record has no section that came later
        "data": {"sides": {"test": {"md5": put_in_cache(TEST)}}},
        "pipeline": {"hashes": {"models/reports/predictions.parquet": put_in_cache(PREDICTIONS)}},
    }


@pytest.fixture
def promising_record(put_in_cache, settings, tmp_path):
    """As much of a record as the promise needs, and the version's folder with its automation.json."""
    config = {"precision": 0.9, "confidence": 0.95, "by_label": False}
    nothing = {"path": "", "sha256": ""}
    section = Automation(**config, out_of_scope=OutOfScope(**nothing))
    document = automation.document(PREDICTIONS, PREDICTIONS, section)
    assert document["status"] == automation.PROVED
    (tmp_path / "artifacts/candidate").mkdir(parents=True)
    (tmp_path / "artifacts/candidate/automation.json").write_text(json.dumps(document), "utf-8")
    md5 = put_in_cache(PREDICTIONS)
    return {
        "automation": document,
        "params": {**settings, "evaluate": {**settings["evaluate"], "automation": {**config, "out_of_scope": nothing}}},
        "pipeline": {"hashes": {"models/reports/predictions.parquet": md5, "models/validation.parquet": md5}},
    }


def broken_promises(record_facts, folder):
    return [link.name for link in recomputed.check_automation(record_facts, folder) if not link.ok]


def test_a_promise_is_computed_again_from_the_stored_answers(promising_record, tmp_path):
    assert broken_promises(promising_record, tmp_path) == []
    promising_record["automation"]["threshold"] = 0.5
    assert broken_promises(promising_record, tmp_path) == ["automation of the version", "automation"]


def test_a_version_that_carries_another_promise_than_its_record_is_told(promising_record, tmp_path):
    (tmp_path / "artifacts/candidate/automation.json").unlink()
    assert broken_promises(promising_record, tmp_path) == ["automation of the version"]


def test_answers_that_the_store_has_lost_prove_no_promise(promising_record, tmp_path):
    promising_record["pipeline"]["hashes"]["models/validation.parquet"] = "0" * 32
    assert broken_promises(promising_record, tmp_path) == ["automation"]


def test_a_record_of_an_earlier_release_has_no_promise_to_check(tmp_path):
    assert broken_promises({}, tmp_path) == []


def wrong(record_facts, folder):
    return [link.name for link in recomputed.check_gate(record_facts, folder) if not link.ok]


def test_every_part_of_the_decision_follows_again_from_the_kept_bytes(gated_record, tmp_path):
    links = list(recomputed.check_gate(gated_record, tmp_path))
    assert [link.name for link in links] == ["gate", "gate reasons", "gate bounds", "gate worse"]
    assert wrong(gated_record, tmp_path) == []
    names = {bound["name"] for bound in gated_record["gate"]["bounds"]}
    assert {"bills", "parcels", "source desk", "source shop", "known", "new", "error"} == names


def change(record_facts, *path, value):
    changed = copy.deepcopy(record_facts)
    *parents, last = path
    place = changed
    for name in parents:
        place = place[name]
    place[last] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value", "names"),
    [
        (("gate", "decision"), "held", ["gate"]),
        (("gate", "worse"), True, ["gate worse"]),
        (("gate", "bounds", 0, "loss"), -0.5, ["gate bounds"]),
        (("gate", "bounds", 5, "rows"), 1, ["gate bounds"]),
        (("gate", "reasons", 0), "macro_f1 beats the base, believe me", ["gate reasons"]),
        (("gate", "latency", "ratio"), 9.0, ["gate", "gate reasons"]),
        (("gate", "champion_test"), None, ["gate reasons", "gate bounds"]),
        (("params", "promote", "margin_over_champion"), 0.9, ["gate", "gate reasons"]),
        (("params", "promote", "max_label_recall_loss"), 0.5, ["gate bounds"]),
        (("params", "promote"), {"metric": "macro_f1"}, ["gate"]),
    ],
)
def test_whatever_was_changed_in_the_record_is_named(gated_record, tmp_path, path, value, names):
    assert wrong(change(gated_record, *path, value=value), tmp_path) == names


@pytest.mark.parametrize("what", ["champion_test", "test", "predictions"])
def test_bytes_that_are_gone_are_said_to_be_gone(gated_record, tmp_path, what):
    md5 = {
        "champion_test": gated_record["gate"]["champion_test"],
        "test": gated_record["data"]["sides"]["test"]["md5"],
        "predictions": gated_record["pipeline"]["hashes"]["models/reports/predictions.parquet"],
    }[what]
    dvc_store.cached(md5).unlink()
    (link,) = recomputed.check_gate(gated_record, tmp_path)
    assert (link.name, link.found, link.ok) == ("gate", checks.GONE, False)


def test_other_predictions_of_the_champion_are_found(gated_record, tmp_path):
    row_table.write(PREDICTIONS, tmp_path / record.CHAMPION_SAID)
    assert "gate" in wrong(gated_record, tmp_path)
    (tmp_path / record.CHAMPION_SAID).unlink()
    (link,) = recomputed.check_gate(gated_record, tmp_path)
    assert "cannot be decided again" in link.found


def test_a_record_of_schema_1_is_decided_by_the_rule_of_its_time(gated_record, tmp_path):
    old = {"metric": "macro_f1", "margin_over_base": 0.01, "margin_over_champion": 0.0, "confidence": 0.95}
    old |= {"bootstrap": 200, "seed": 17}
    gate = gate_record.as_schema_1(PREDICTIONS, CHAMPION, old)
    rivals = [{"name": name, **rival} for name, rival in zip(("base", "champion"), gate["rivals"], strict=True)]
    gated_record |= {"schema_version": 1, "params": {"promote": old}}
    gated_record["gate"] = {"decision": gate["decision"], "champion": "m/1", "rivals": rivals}
    assert [link.name for link in recomputed.check_gate(gated_record, tmp_path)] == ["gate", "gate reasons"]
    assert wrong(gated_record, tmp_path) == []
    assert wrong(change(gated_record, "gate", "decision", value="held"), tmp_path) == ["gate"]
    assert yaml.safe_load(yaml.safe_dump(gated_record))  # plain values all the way


def test_general_examples_are_looked_at_again_their_file_and_what_was_kept(put_in_cache, tmp_path):
    file = tmp_path / "sums.csv"
    file.write_text("prompt,completion\nwhat is two and two,four\n", "utf-8")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    kept_md5 = put_in_cache(pd.DataFrame({"id": ["sums.csv:2"], "text": ["what is two and two"]}))

    def links(test, rows=1):
        general = {"md5": kept_md5, "rows": rows, "files": {"sums.csv": {"path": str(file), "sha256": digest}}}
        record_facts = {
            "data": {"general": general, "sides": {"test": {"md5": put_in_cache(pd.DataFrame({"text": [test]}))}}}
        }
        return [link.name for link in recomputed.check_replay(record_facts) if not link.ok]

    assert links("where is my parcel") == []
    assert links("What is two and TWO?") == ["test rows among the general examples"]
    assert links("where is my parcel", rows=2) == ["general examples"]
    file.write_text("prompt,completion\nwhat is two and two,five\n", "utf-8")
    assert links("where is my parcel") == ["general/sums.csv"]
    file.unlink()
    assert links("where is my parcel") == ["general/sums.csv"]
    dvc_store.cached(kept_md5).unlink()
    assert links("where is my parcel") == ["general/sums.csv", "general examples"]
    assert list(recomputed.check_replay({"data": {}})) == []
