"""The model card, and what it says together with the other statements."""

from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2

from retune.documents import bom, lineage_page, model_card, provenance
from retune.documents.record_facts import with_unreadable
from retune.lineage.record import problems
from tests.support.statements import values


def test_the_card_says_what_the_model_is_for_from_what_how_good_and_where_it_ends(record):
    card = model_card.model_card(record)
    for line in (
        "# tickets\n",
        "Predicts one of 4 labels for a text: billing, delivery, refunds, technical_faults.",
        "| desk | 322 | 310 | 2026-01-01 to 2026-06-30 | own records, for use in this company only |",
        "24 rejected: empty 8, exact_copy 8, rare_label 6, suppressed 2.",
        "Validation: accepted, 11 expectations",
        "Splits: train 989, val 132, test 197 rows",
        "Its licence, as declared: Apache-2.0.",
        "Energy: about 3.84 Wh (an estimate, not measured; from seconds 212.5, watts 65).",
        "| this model | 0.9231 [0.892, 0.954] | 0.9187 [0.885, 0.953] | 0.0411 [0.029, 0.053] |",
        "| the champion of that time | 0.9026",
        "The gate let it pass: macro-F1 0.919 on test rows, the untouched base 0.602. Trained on 2026-11-24.",
        "The gate let it pass; the champion of that time was tickets/6.",
        "macro_f1 beats the champion: gain +0.0204",
        "calibration error +0.0031 against the champion, not surely above the bound of +0.05.",
        "4.12 ms a text, the champion 4.05: ratio 1.02, within the bound of 1.5",
        "other sources may score lower",
        "with changes that were not committed",
        record["data"]["raw"]["md5"],
        record["fingerprint"],
    ):
        assert line in card


def test_what_could_not_be_read_is_received_and_rejected_on_every_page(record):
    before = model_card.model_card(record)
    assert with_unreadable(record["data"]) is record["data"]
    raw, rejected = record["data"]["raw"]["rows"], record["data"]["rejected"]["rows"]
    record["data"]["unreadable"] = {"rows": 5, "reasons": {"not UTF-8": 5}, "sources": {"desk": 3, "fax": 2}}
    assert problems(record) == []
    card = model_card.model_card(record)
    for line in (
        "| desk | 325 | 310 | 2026-01-01 to 2026-06-30 | own records, for use in this company only |",
        "| fax | 2 | 0 | not stated | not stated |",
        f"{rejected + 5} rejected: empty 8, exact_copy 8, rare_label 6, suppressed 2, unreadable: not UTF-8 5.",
    ):
        assert line in card and line not in before
    data = with_unreadable(record["data"])
    assert data["raw"]["rows"] == raw + 5
    assert record["data"]["raw"]["rows"] == raw, "what verify compares stays"
    assert "unreadable: not UTF-8" in lineage_page.page(record, "tickets/7", [], [])


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
    statement = provenance.provenance(record)
    json_format.ParseDict(statement["predicate"], provenance_pb2.Provenance())
    needs = {need["name"]: need["digest"] for need in statement["predicate"]["buildDefinition"]["resolvedDependencies"]}
    assert needs["tickets/6 model"] == {"dvcDirMd5": training_start["model_md5"].removesuffix(".dir")}
    assert needs["tickets/6 train"] == {"md5": training_start["train_md5"]}


def test_a_version_that_learned_from_pairs_says_whose_weights_it_went_on_from(record, training_start):
    record["params"]["task"] = "prefer"
    record["training"] |= {"method": "dpo", "start": training_start}
    score = {"value": 0.875, "low": 0.8, "high": 0.95, "n": 99}
    record["scores"] |= {"candidate": {"preferred": score}, "base": {"preferred": score}, "probe": None}
    record["scores"]["champion"] = None
    card = model_card.model_card(record)
    assert "Training continued from tickets/6" in card
    assert "on 1234 pairs of answers, with that version as reference." in card
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
    missing = [line for line in plain[0].splitlines() if line not in card.splitlines()]
    assert missing == [], "no count of rows is other than it was"
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
    assert "The gate held it; there was no champion." in card
    assert "champion of that time" not in card


def test_words_from_outside_break_neither_lines_nor_tables_of_the_card(record):
    source = record["data"]["sources"].pop("desk")
    record["data"]["sources"]["a | b\n## Limits\nnone <b>"] = source | {"collected": "", "licence": "see [here](x)"}
    record["started"]["command"] = "retune run `rm`\n# x"
    card = model_card.model_card(record)
    assert "| a \\| b ## Limits none \\<b> | 322 | 310 | not stated | see \\[here](x) |" in card
    assert card.count("\n## Limits\n") == 1
    assert "`retune run 'rm' # x`" in card


def test_what_was_measured_beside_the_scores_stands_on_card_and_page_with_interval_and_rows(record):
    assert "beside the scores" not in model_card.model_card(record)
    measure = {"title": "accuracy of the *worst* slice", "value": 0.75, "low": 0.6, "high": 0.9, "n": 1234}
    record["measures"] = {"worst_slice": measure}
    assert problems(record) == []
    assert "| accuracy of the \\*worst\\* slice | 0.7500 [0.600, 0.900] | 1,234 |" in model_card.model_card(record)
    page = lineage_page.page(record, "", [], [])
    assert "What else was measured" in page and "accuracy of the *worst* slice" in page and "0.6000 to 0.9000" in page
