"""Checks that compute again what a record says of its data and outcome: rows, labels, scores, the gate's decision."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from retune.config import params, renames
from retune.config.classification import Automation, OutOfScope
from retune.config.evaluation import GenerationAutomation
from retune.data import row_table, suppression, task_data, text_keys
from retune.errors import Refused, RetuneError
from retune.evaluation import automation, task_metrics
from retune.lineage import record as records
from retune.lineage.check import Check
from retune.lineage.record import Record
from retune.models import routing
from retune.promotion import gate, gate_record, latency
from retune.system import dvc_store
from retune.system.files import file_sha256
from tasks.trace.checks import GONE, MISSING, Blobs, equal, read_columns, recorded_predictions, same, suppression_list

DETAILS, VALIDATION = "models/reports/details.json", "models/validation.parquet"


def check_raw_rows(record: Record) -> Iterator[Check]:
    """The number of received rows."""
    raw = record["data"]["raw"]
    try:
        parts = [md5 for path, md5 in dvc_store.listing(raw["md5"]).items() if path.endswith(".parquet")]
        count = str(sum(pq.read_metadata(dvc_store.parquet(md5)).num_rows for md5 in parts))
    except (Refused, pa.ArrowException, OSError):
        count = GONE
    yield equal("rows of raw", str(raw["rows"]), count)


def check_splits(record: Record, blobs: Blobs) -> Iterator[Check]:
    """Rows and labels of each split, and that none of its rows is suppressed."""
    suppressed = suppression_list(blobs)
    for name, split in record["data"]["sides"].items():
        table = dvc_store.table(split["md5"], ["id", "label"])
        if table is None:
            yield Check(f"rows of {name}", str(split["rows"]), GONE, False)
            continue
        yield equal(f"rows of {name}", split["rows"], table.num_rows)
        if task_data.of(task_metrics.task_of(record["params"])).has_labels:
            labels = {str(label): int(count) for label, count in table["label"].to_pandas().value_counts().items()}
            yield same(f"labels of {name}", split["labels"], labels)
        count = int(suppression.contains(suppressed, table["id"].to_pandas()).sum())
        yield equal(f"suppressed rows in {name}", 0, count)


def check_replay(record: Record) -> Iterator[Check]:
    """The replay examples: their files as they are now, those that curation kept, and that none is a test row."""
    if not (replay := record["data"].get("general")):
        return
    for name, file in replay["files"].items():
        try:
            yield equal(f"general/{name}", file["sha256"], file_sha256(Path(file["path"])))
        except OSError as error:
            yield Check(f"general/{name}", file["sha256"], f"{MISSING}: {file['path']}: {error.strerror}", False)
    examples, test = (dvc_store.table(md5, ["text"]) for md5 in (replay["md5"], record["data"]["sides"]["test"]["md5"]))
    if examples is None or test is None:
        yield Check("general examples", str(replay["rows"]), GONE, False)
        return
    yield equal("general examples", replay["rows"], examples.num_rows)
    texts, test_texts = (text_keys.near(table["text"].to_pandas()) for table in (examples, test))
    yield equal("test rows among the general examples", 0, int(texts.isin(set(test_texts)).sum()))


def check_scores(record: Record) -> Iterator[Check]:
    """The scores, from what each model predicted of each test row."""
    predictions, scores = recorded_predictions(record), record["scores"]
    task, bins = task_metrics.task_of(record["params"]), record["params"]["evaluate"].get("bins", 1)
    models = (
        ("candidate", "", scores["candidate"]),
        ("base", "base_", scores["base"]),
        ("probe", "probe_", scores["probe"]),
    )
    for model, prefix, scored in models:
        if not scored:
            continue
        if predictions is None:
            yield Check(f"scores of {model}", "recorded", GONE, False)
            continue
        recomputed = task_metrics.recompute_scores(task, task_metrics.predictions_of(predictions, prefix), bins)
        for metric, value in recomputed.items():
            expected = scored[metric]["value"]
            ok = math.isclose(expected, value, abs_tol=1e-9)
            yield Check(f"{metric} of {model}", f"{expected:.6f}", f"{value:.6f}", ok)


def check_automation(record: Record, folder: Path) -> Iterator[Check]:
    """What the model may do alone, from its answers to validation and test rows; and that the version carries that."""
    if not (recorded := record.get("automation")):
        return
    carried = [json.loads(path.read_text("utf-8")) for path in folder.glob(f"artifacts/*/{routing.FILE}")]
    yield same("automation of the version", recorded, carried[0] if carried else MISSING)
    if "measure" in recorded:
        yield _check_answer_automation(record, recorded)
    if not task_data.of(task_metrics.task_of(record["params"])).has_labels:
        return
    predictions, hashes = recorded_predictions(record), record["pipeline"]["hashes"]
    validation = dvc_store.table(hashes[VALIDATION], None)
    if predictions is None or validation is None:
        yield Check("automation", recorded["status"], GONE, False)
        return
    values = record["params"]["evaluate"]["automation"]
    config = Automation(**{**values, "out_of_scope": OutOfScope(**values["out_of_scope"])})
    document = automation.document(validation.to_pandas(), predictions, config)
    yield same("automation", recorded, {**document, "out_of_scope": recorded["out_of_scope"]})  # its texts are not kept


def _check_answer_automation(record: Record, recorded: records.Automation) -> Check:
    """The same of a model that writes. Which answers are right stands in what was recorded: a judge may change."""
    predictions = recorded_predictions(record)
    try:
        details = json.loads(dvc_store.read_bytes(record["pipeline"]["hashes"][DETAILS]))
    except (dvc_store.MissingBytes, ValueError):
        details = None
    if predictions is None or details is None:
        return Check("automation", recorded["status"], GONE, False)
    config = GenerationAutomation(**record["params"]["evaluate"]["automation"])
    test = predictions[predictions["right"].notna()]
    return same("automation", recorded, automation.document(pd.DataFrame(details["automation_rows"]), test, config))


def check_gate(record: Record, folder: Path) -> Iterator[Check]:
    """The gate's decision, with the thresholds of then.

    A latency is a measurement: the check takes it as recorded, and evaluates again what follows from it.
    """
    recorded = record["gate"]
    try:
        actual = _evaluate_gate_again(record, folder)
    except dvc_store.MissingBytes:
        yield Check("gate", recorded["decision"], GONE, False)
        return
    except (RetuneError, OSError, ValueError, pa.ArrowException) as error:  # damaged bytes hold any value
        yield Check("gate", recorded["decision"], f"cannot be decided again: {error}", False)
        return
    yield equal("gate", recorded["decision"], actual["decision"])
    yield same("gate reasons", records.reasons_of(recorded), records.reasons_of(actual))
    if "bounds" in recorded:
        yield same("gate bounds", recorded["bounds"], actual["bounds"])
        yield equal("gate worse", recorded["worse"], actual["worse"])


def _evaluate_gate_again(record: Record, folder: Path) -> records.Gate:
    """The gate's section of the record, from the stored bytes. Raises MissingBytes if the store has lost them."""
    recorded, predictions = record["gate"], recorded_predictions(record)
    if predictions is None:
        raise dvc_store.MissingBytes(GONE)
    champion = row_table.read(folder / records.CHAMPION_SAID) if recorded["champion"] else None
    if record["schema_version"] == 1:
        return cast(records.Gate, gate_record.as_schema_1(predictions, champion, record["params"]["promote"]))
    task, hashes = task_metrics.task_of(record["params"]), record["pipeline"]["hashes"]
    config = renames.upgrade(record["params"])
    section = params.sections(task)["promote"]
    unlimited = {name: value for name, value in renames.UNLIMITED.items() if name in params.paths(section)}
    promote_config = params.parse_section(section, {**unlimited, **config["promote"]})
    generates, details = not task_data.of(task).has_labels, {}
    if generates or params.at(
        config, "evaluate.golden"
    ):  # of an earlier release, a classifier's details decide nothing
        details = json.loads(dvc_store.read_bytes(hashes[DETAILS]))
    names = None if "columns" in promote_config.slices else ["id", "source"]
    rows = read_columns(record["data"]["sides"]["test"]["md5"], names)
    champion_test = recorded["champion_test"]
    champion_ids = read_columns(champion_test, ["id"])["id"].tolist() if champion_test else None
    decision = gate.evaluate_gate(
        gate_record.with_source(predictions, rows),
        champion,
        promote_config,
        recorded["champion"],
        champion_ids,
        gate_record.questions_of(details) if generates else None,
        gate_record.own_guardrails(details, promote_config),
    )
    if measurement := recorded["latency"]:
        decision = gate.with_latency(decision, latency.parse(measurement), promote_config)
    return cast(records.Gate, gate_record.as_record(decision, promote_config, champion_test))
