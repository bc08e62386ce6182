"""Checks that compute again what a record says of its data and outcome: rows, labels, scores, the gate's decision."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from retune.config import params
from retune.data import row_table, suppression
from retune.errors import Refused, RetuneError
from retune.evaluation import task_metrics
from retune.lineage import record
from retune.lineage.check import Check
from retune.lineage.record import Record
from retune.promotion import gate
from retune.system import dvc_store
from retune.system.files import file_sha256
from tasks.trace.checks import GONE, MISSING, equal, read_columns, recorded_predictions, same, suppression_list

DETAILS = "models/reports/details.json"


def check_raw_rows(made: Record) -> Iterator[Check]:
    """The received rows, counted again."""
    expected = made["data"]["raw"]
    try:
        parts = [md5 for path, md5 in dvc_store.listing(expected["md5"]).items() if path.endswith(".parquet")]
        found = str(sum(pq.read_metadata(dvc_store.parquet(md5)).num_rows for md5 in parts))
    except (Refused, pa.ArrowException, OSError):
        found = GONE
    yield equal("rows of raw", str(expected["rows"]), found)


def check_splits(made: Record, kept: dict[str, bytes]) -> Iterator[Check]:
    """Rows and labels of each side, counted again, and none of them on the list of what must not be learned from."""
    listed = suppression_list(kept)
    for side, told in made["data"]["sides"].items():
        table = dvc_store.table(told["md5"], ["id", "label"])
        if table is None:
            yield Check(f"rows of {side}", str(told["rows"]), GONE, False)
            continue
        yield equal(f"rows of {side}", told["rows"], table.num_rows)
        if task_metrics.has_labels(made["params"]):
            found = {str(label): int(count) for label, count in table["label"].to_pandas().value_counts().items()}
            yield same(f"labels of {side}", told["labels"], found)
        yield equal(f"suppressed rows in {side}", 0, int(suppression.contains(listed, table["id"].to_pandas()).sum()))


def check_replay(made: Record) -> Iterator[Check]:
    """The general examples: the files as they are now, those that were kept, and none of them a test row."""
    if not (told := made["data"].get("general")):
        return
    for name, file in told["files"].items():
        try:
            yield equal(f"general/{name}", file["sha256"], file_sha256(Path(file["path"])))
        except OSError as error:
            yield Check(f"general/{name}", file["sha256"], f"{MISSING}: {file['path']}: {error.strerror}", False)
    kept, test = (dvc_store.table(md5, ["text"]) for md5 in (told["md5"], made["data"]["sides"]["test"]["md5"]))
    if kept is None or test is None:
        yield Check("general examples", str(told["rows"]), GONE, False)
        return
    yield equal("general examples", told["rows"], kept.num_rows)
    texts = [row_table.same_text(table["text"].to_pandas()) for table in (kept, test)]
    yield equal("test rows among the general examples", 0, int(texts[0].isin(set(texts[1])).sum()))


def check_scores(made: Record) -> Iterator[Check]:
    """The scores once more, from what each model said of each test row."""
    said = recorded_predictions(made)
    task, bins = task_metrics.task_of(made["params"]), made["params"]["evaluate"].get("bins", 1)
    for who, prefix in (("candidate", ""), ("base", "base_"), ("probe", "probe_")):
        if not made["scores"][who]:
            continue
        if said is None:
            yield Check(f"scores of {who}", "recorded", GONE, False)
            continue
        found = task_metrics.recompute_scores(task, task_metrics.predictions_of(said, prefix), bins)
        for name, value in found.items():
            expected = made["scores"][who][name]["value"]
            yield Check(
                f"{name} of {who}", f"{expected:.6f}", f"{value:.6f}", math.isclose(expected, value, abs_tol=1e-9)
            )


def check_gate(made: Record, folder: Path) -> Iterator[Check]:
    """The gate's decision once more, with the thresholds as they stood. A time is a measurement: it is taken as
    recorded, and what follows from it is decided again.
    """
    told = made["gate"]
    try:
        found = _evaluate_gate_again(made, folder)
    except dvc_store.MissingBytes:
        yield Check("gate", told["decision"], GONE, False)
        return
    except (RetuneError, OSError, pa.ArrowException) as error:
        yield Check("gate", told["decision"], f"cannot be decided again: {error}", False)
        return
    yield equal("gate", told["decision"], found["decision"])
    yield same("gate reasons", record.reasons_of(made), record.reasons_of({"gate": found}))
    if "bounds" in told:
        yield same("gate bounds", told["bounds"], found["bounds"])
        yield equal("gate worse", told["worse"], found["worse"])


def _evaluate_gate_again(made: Record, folder: Path) -> dict[str, Any]:
    """The gate's part of the record as it follows from the kept bytes. Raises Gone if they are not kept."""
    told, said = made["gate"], recorded_predictions(made)
    if said is None:
        raise dvc_store.MissingBytes(GONE)
    champion = row_table.read(folder / record.CHAMPION_SAID) if told["champion"] else None
    if made["schema_version"] == 1:
        return gate.as_schema_1(said, champion, made["params"]["promote"])
    task, hashes = task_metrics.task_of(made["params"]), made["pipeline"]["hashes"]
    section = params.parse_section(params.sections(task)["promote"], made["params"]["promote"])
    general = None if task == "classify" else gate.general_of(json.loads(dvc_store.read_bytes(hashes[DETAILS])))
    rows = read_columns(made["data"]["sides"]["test"]["md5"], ["id", "source"])
    known = read_columns(told["champion_test"], ["id"])["id"].tolist() if told["champion_test"] else None
    decision = gate.evaluate_gate(gate.with_source(said, rows), champion, section, told["champion"], known, general)
    if told["latency"]:
        decision = gate.with_latency(decision, gate.latency_of(told["latency"]), section)
    return gate.as_record(decision, section, told["champion_test"])
