"""Register the model, its scores and its record: one version for each fingerprint.

A version is registered with all its tags or not at all. It carries its record (`lineage.json`), the documents that
follow from the record (provenance, bill of materials, model card, page), the checksum of every file, and a signature
if there is a key. Then a clean process loads it, and the version becomes `challenger` only if it predicts there what
it predicted in evaluation. A run that is killed in between continues where it stopped.
"""

import importlib.metadata
import json
import os
import shutil
from pathlib import Path

from retune.config.common import Register
from retune.config.params import Params
from retune.data import row_table, suppression
from retune.documents import bom, data_card, model_card, provenance
from retune.documents.lineage_page import page
from retune.errors import Refused
from retune.evaluation import task_metrics
from retune.lineage import ancestry, checksums, history, parent_version, signing
from retune.lineage import record as records
from retune.lineage.record import Record
from retune.models import manifest as manifests
from retune.models import routing
from retune.models.manifest import CausalLMManifest, ClassifierManifest
from retune.registry import clean_process, reload_check, versions
from retune.registry.reload_check import REFUSED, RELOADED
from retune.system import dvc_pipeline, failpoints
from retune.system.files import file_sha256
from tasks.register.record_builder import MODEL, REPORTS, TEST, Gate, Origin, history_facts, record_of, version_tags
from tasks.register.run_page import summary

SERVING = ("mlflow", "numpy", "pandas", "peft", "safetensors", "torch", "transformers")


def register(config: Params, origin: Origin, gate: Gate) -> versions.Version:
    """A new version of the model in `models/candidate`, sealed and, if there is a key, signed."""
    fingerprint, manifest = dvc_pipeline.fingerprint(), manifests.read(MODEL)
    with versions.packed(MODEL, requirements(manifest)) as folder:
        shutil.copy(REPORTS / routing.FILE, folder / "artifacts" / MODEL.name / routing.FILE)
        if gate.champion_report:
            predictions = row_table.read(gate.champion_report / "predictions.parquet")
            row_table.write(task_metrics.without_texts(config.task, predictions), folder / records.CHAMPION_SAID)
        failpoints.point("register:packed")
        record = record_of(config, origin, gate, fingerprint, manifest, checksums.contents(folder))
        seal, signer = publish(folder, record)
        failpoints.point("register:sealed")
        evidence = file_sha256(folder / records.FILE)
        tags = version_tags(record, {"evidence": evidence, "seal": seal, "signer": signer})
        version = versions.add_version(config.register.name, origin.run_id, folder, tags, summary(config.task))
    failpoints.point("register:version")
    return version


def check_key() -> None:
    """Raises WrongUse, before training costs anything, for a key that cannot sign."""
    if key := os.environ.get("RETUNE_SIGNING_KEY"):
        signing.private_key(Path(key), os.environ.get("RETUNE_SIGNING_KEY_PASSWORD"))


def check_start() -> None:
    """Raises Incompatible, before training costs anything, if models/start.json names a version that must not be used.

    The check needs to know the test rows, so it runs after curate and split.
    """
    if parent := parent_version.read():
        ancestry.check(parent, suppression.read(), row_table.read(TEST))


def publish(folder: Path, record: Record) -> tuple[str, str]:
    """Write the record and the documents that follow from it beside the model. Returns the seal and the signer."""
    records.write(record, folder / records.FILE)
    for name, document in (("provenance.json", provenance.provenance(record)), ("bom.json", bom.bom(record))):
        (folder / name).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    (folder / "model_card.md").write_text(model_card.model_card(record), "utf-8")
    (folder / data_card.CARD).write_text(data_card.data_card(record), "utf-8")
    (folder / "lineage.html").write_text(page(record, "", [], []), "utf-8")
    signer = signing.UNSIGNED
    if key := os.environ.get("RETUNE_SIGNING_KEY"):
        signer = signing.sign(folder, Path(key), os.environ.get("RETUNE_SIGNING_KEY_PASSWORD"))
    return checksums.write(folder), signer


def admit(
    version: versions.Version, record: Record, register_config: Register, reader: clean_process.Reader
) -> versions.Version:
    """Enter the version in the history, reload it, and make it challenger if it predicts the same.

    reader: the clean process that reloads it.
    """
    why = record["started"]["why"] or [record["started"]["command"]]
    history.append(version.name, version.version, history.REGISTERED, why, history_facts(version), versions.anchor)
    failpoints.point("admit:history")
    if RELOADED not in version.tags:
        check_reload(version, register_config, reader)
    failpoints.point("admit:reloaded")
    if versions.CHALLENGER in history.read(version.name).aliases(version.version):  # unless it has been champion since
        versions.set_alias(version, versions.CHALLENGER)
    failpoints.point("admit:challenger")
    return versions.find(version.name, version=version.version)


def record_of_version(version: versions.Version) -> Record:
    """The record that a version carries. Raises Refused if any file of the version has changed."""
    return records.read(versions.checked_folder(version) / records.FILE)


def requirements(manifest: ClassifierManifest | CausalLMManifest) -> list[str]:
    """What a server must install to serve the model."""
    kind, _, package = manifest.base_name.partition(":")
    names = [*SERVING, *([package] if kind == "package" else [])]
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in names]


def check_reload(version: versions.Version, register_config: Register, reader: clean_process.Reader) -> None:
    """Predict some test rows with the version as MLflow loads it. Raises Refused if a prediction differs."""
    expected = reload_check.answered(row_table.read(REPORTS / "predictions.parquet")).head(register_config.reload_rows)
    texts = row_table.read(TEST).set_index("id").loc[expected["id"], "text"].tolist()
    predictions = clean_process.predict_in_clean_process(reader, version, texts)
    try:
        rule = routing.read(REPORTS)
        agreement = reload_check.agreement(version, expected, predictions, rule, register_config.tolerance)
        versions.tag_version(version, {RELOADED: agreement})
    except Refused as error:
        versions.tag_version(version, {REFUSED: str(error)})
        raise
