"""Put the model, its scores and the record of what made it in the registry: once per fingerprint.

A version is registered with all its tags or not at all. It carries its record (`lineage.json`), what follows from
that (provenance, bill of materials, model card, page), the checksum of every file, and a signature if there is a
key. Then it is loaded again in a clean process, and only if that says what evaluation said does it become
`challenger`. A run that was cut off anywhere in between goes on where it stopped.
"""

import importlib.metadata
import json
import os
from pathlib import Path

from retune.config.params import Params, Register
from retune.data import row_table, suppression
from retune.documents import statements
from retune.documents.lineage_page import page
from retune.errors import Refused
from retune.evaluation import task_metrics
from retune.lineage import ancestry, checksums, history, parent_version, record, signing
from retune.lineage.record import Record
from retune.models import manifest as cards
from retune.models.manifest import CausalLMManifest, ClassifierManifest
from retune.registry import clean_process, reload_check, versions
from retune.registry.reload_check import REFUSED, RELOADED
from retune.system import dvc_pipeline, failpoints
from retune.system.files import file_sha256
from tasks.register.record_builder import MODEL, REPORTS, TEST, Gate, Origin, facts, record_of, version_tags
from tasks.register.run_page import summary

SERVING = ("mlflow", "numpy", "pandas", "peft", "safetensors", "torch", "transformers")


def register(params: Params, origin: Origin, gate: Gate) -> versions.Version:
    """A new version of the model in `models/candidate`, sealed and, if there is a key, signed."""
    fingerprint, card = dvc_pipeline.fingerprint(), cards.read(MODEL)
    with versions.packed(MODEL, requirements(card)) as folder:
        if gate.champion_report:
            said = row_table.read(gate.champion_report / "predictions.parquet")
            row_table.write(task_metrics.without_texts(params.task, said), folder / record.CHAMPION_SAID)
        failpoints.point("register:packed")
        made = record_of(params, origin, gate, fingerprint, card, checksums.contents(folder))
        seal, signer = publish(folder, made)
        failpoints.point("register:sealed")
        evidence = file_sha256(folder / record.FILE)
        tags = version_tags(made, {"evidence": evidence, "seal": seal, "signer": signer})
        version = versions.add_version(params.register.name, origin.run_id, folder, tags, summary(params.task))
    failpoints.point("register:version")
    return version


def check_key() -> None:
    """Raises WrongUse for a key that cannot sign, before training has cost anything."""
    if key := os.environ.get("RETUNE_SIGNING_KEY"):
        signing.private_key(Path(key), os.environ.get("RETUNE_SIGNING_KEY_PASSWORD"))


def check_start() -> None:
    """Raises Unfit if models/start.json names a version that must not be continued from, before that has cost anything.

    Called when curate and split have run: which rows are test rows is part of the answer.
    """
    if begins := parent_version.read():
        ancestry.check(begins, suppression.read(), row_table.read(TEST))


def publish(folder: Path, made: Record) -> tuple[str, str]:
    """Write the record and all that follows from it beside the model. Returns the seal and the signer."""
    record.write(made, folder / record.FILE)
    for name, told in (("provenance.json", statements.provenance(made)), ("bom.json", statements.bom(made))):
        (folder / name).write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", "utf-8")
    (folder / "model_card.md").write_text(statements.model_card(made), "utf-8")
    (folder / "lineage.html").write_text(page(made, "", [], []), "utf-8")
    signer = signing.UNSIGNED
    if key := os.environ.get("RETUNE_SIGNING_KEY"):
        signer = signing.sign(folder, Path(key), os.environ.get("RETUNE_SIGNING_KEY_PASSWORD"))
    return checksums.write(folder), signer


def admit(version: versions.Version, made: Record, section: Register, reader: clean_process.Reader) -> versions.Version:
    """Enter the version in the history, load it again as others would, and make it challenger if it is the same.

    reader: a clean process, in which a new version is loaded again.
    """
    why = made["started"]["why"] or [made["started"]["command"]]
    history.append(version.name, version.version, history.REGISTERED, why, facts(version), versions.anchor)
    failpoints.point("admit:history")
    if RELOADED not in version.tags:
        check_reload(version, section, reader)
    failpoints.point("admit:reloaded")
    if versions.CHALLENGER in history.read(version.name).aliases(version.version):  # unless it has been champion since
        versions.set_alias(version, versions.CHALLENGER)
    failpoints.point("admit:challenger")
    return versions.find(version.name, version=version.version)


def record_of_version(version: versions.Version) -> Record:
    """The record that a version carries; refused if any of its files is not as it was registered."""
    return record.read(versions.checked_folder(version) / record.FILE)


def requirements(card: ClassifierManifest | CausalLMManifest) -> list[str]:
    """What a server must install to serve the model."""
    kind, _, package = card.base_name.partition(":")
    names = [*SERVING, *([package] if kind == "package" else [])]
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in names]


def check_reload(version: versions.Version, section: Register, reader: clean_process.Reader) -> None:
    """Predict some test rows with the version as MLflow loads it. Raises Refused if it says anything else."""
    said = reload_check.answered(row_table.read(REPORTS / "predictions.parquet")).head(section.reload_rows)
    texts = row_table.read(TEST).set_index("id").loc[said["id"], "text"].tolist()
    again = clean_process.predict_in_clean_process(reader, version, texts)
    try:
        versions.tag_version(version, {RELOADED: reload_check.agreement(version, said, again, section.tolerance)})
    except Refused as error:
        versions.tag_version(version, {REFUSED: str(error)})
        raise
