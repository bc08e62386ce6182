"""The record of a version: everything known of how its model was record, one builder for each section.

Sections and fields are those of `retune/lineage/record.schema.json`.
"""

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pandas as pd

from retune.config.common import Estimate
from retune.config.params import Params
from retune.data import row_table, source_facts, suppression, task_data
from retune.evaluation import measures, task_metrics
from retune.lineage import parent_version
from retune.lineage import record as records
from retune.lineage.entry_facts import Fact, md5_fact
from retune.lineage.record import Record
from retune.models import base_model
from retune.models.manifest import CausalLMManifest, ClassifierManifest
from retune.promotion.gate import Decision
from retune.promotion.gate_record import as_record
from retune.registry import versions
from retune.system import dvc_pipeline, git
from retune.system.files import file_sha256

MODEL, REPORTS, TEST = Path("models/candidate"), Path("models/reports"), Path("data/splits/test.parquet")
RAW, LOCK = Path("data/raw"), Path("requirements.lock")
REPLAY = "data/curated/general.parquet"

Report = dict[str, Any]  # models/reports/<stage>.json


@dataclass(frozen=True)
class Origin:
    """Who made this version and why: what only the flow knows."""

    run_id: str
    prefect_run_id: str
    record_name: str
    record_commit: str
    command: str
    why: tuple[str, ...]


@dataclass(frozen=True)
class Gate:
    """The gate's decision, and the folder of the champion's scores if there was a champion."""

    decision: Decision
    champion_report: Path | None
    champion_test: str | None = None  # md5 of the champion's own test split, if the store still has it


def record_of(
    config: Params,
    origin: Origin,
    gate: Gate,
    fingerprint: str,
    manifest: ClassifierManifest | CausalLMManifest,
    files: dict[str, str],
) -> Record:
    """The record of the model in `models/candidate`. files: name -> sha256 of the packed folder."""
    hashes, training_report = dvc_pipeline.hashes(), read_report("train")
    return {
        "schema_version": 2,
        "name": config.register.name,
        "fingerprint": fingerprint,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "started": _started(origin),
        "data": _data(training_report, hashes),
        "base": _base(manifest),
        "code": _code(origin, hashes),
        "environment": _environment(training_report),
        "training": _training(config, training_report),
        "params": as_dict(config),
        "scores": _scores(config, gate.champion_report),
        "automation": cast(records.Automation, read_report("automation")),
        "measures": measures.of_details(read_report("details")),
        "gate": cast(records.Gate, as_record(gate.decision, config.promote, gate.champion_test)),
        "pipeline": {"lock_md5": dvc_pipeline.lock_md5(), "hashes": hashes},
        "files": files,
    }


def _started(origin: Origin) -> records.Started:
    return {
        "by": git.identity(),
        "command": origin.command,
        "why": list(origin.why),
        "prefect_run": origin.prefect_run_id,
        "mlflow_run": origin.run_id,
    }


def _data(training_report: Report, hashes: dict[str, str]) -> records.Data:
    curation, validation = read_report("curate"), read_report("validate")
    facts_of_sources = source_facts.sources(RAW)
    data: records.Data = {
        "raw": {"md5": hashes["data/raw"], "rows": curation["received"]},
        "sources": {
            name: cast(records.Source, {**counts, **facts_of_sources[name]})
            for name, counts in curation["sources"].items()
        },
        "curated": {"md5": hashes["data/curated/rows.parquet"], "rows": curation["kept"]},
        "rejected": {
            "md5": hashes["data/curated/rejects.parquet"],
            "rows": curation["rejected"],
            "reasons": {reason: count for reason, count in curation["reasons"].items() if count},
        },
        "suppressed": {"md5": hashes["data/suppressed.json"], "ids": suppression.count(suppression.read())},
        "validation": {
            "verdict": validation["verdict"],
            "suite_sha256": validation["suite_sha256"],
            "expectations": len(validation["expectations"]),
            "report_md5": hashes["models/reports/validate.json"],
        },
        "sides": _splits(hashes),
    }
    for name in ("unreadable", "personal_data"):
        if name in curation:
            data[name] = curation[name]
    if "general" in curation:
        data["general"] = _replay(curation["general"], training_report, hashes)
    return data


def _splits(hashes: dict[str, str]) -> dict[str, records.Split]:
    report = read_report("split")
    return {
        split: {
            "md5": hashes[f"data/splits/{split}.parquet"],
            "rows": report["rows"][split],
            "labels": {label: count[split] for label, count in report["labels"].items() if count[split]},
        }
        for split in row_table.SPLITS
    }


def _replay(curated: Report, training_report: Report, hashes: dict[str, str]) -> records.Replay:
    """Which replay files, and how many examples of each were learned from."""
    learned = training_report.get("general", {"rows": 0, "files": {}})
    files = {
        name: cast(records.ReplayFile, {**file, "learned": learned["files"].get(name, 0)})
        for name, file in curated["files"].items()
    }
    rows = sum(file["kept"] for file in files.values())
    return {"md5": hashes[REPLAY], "rows": rows, "learned": learned["rows"], "files": files}


def _base(manifest: ClassifierManifest | CausalLMManifest) -> records.Base:
    folder = base_model.find(manifest.base_name)
    return {
        "name": manifest.base_name,
        "revision": base_model.revision(manifest.base_name),
        "sha256": manifest.base_sha256,
        "licence": base_model.licence(manifest.base_name, folder),
        "files": base_model.hashes(folder),
    }


def _code(origin: Origin, hashes: dict[str, str]) -> records.Code:
    commit, dirty = git.commit()
    return {
        "commit": commit,
        "dirty": dirty,
        "diff_sha256": git.diff_sha256(commit, origin.record_commit),
        "record_name": origin.record_name,
        "record_commit": origin.record_commit,
        "modules": {path: md5 for path, md5 in hashes.items() if path.endswith(".py")},
    }


def _environment(training_report: Report) -> records.Environment:
    return {
        "lock_sha256": file_sha256(LOCK),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": training_report["torch"],
        "cuda": training_report["cuda"],
        "device": training_report["device"],
        "threads": training_report["threads"],
        "deterministic": training_report["deterministic"],
    }


def _training(config: Params, training_report: Report) -> records.Training:
    seconds = training_report["seconds"]
    energy, cost = estimates(seconds, training_report["device"] != "cpu", config.register.estimate)
    return {
        "method": config.train.method,
        "start": training_report["start"],
        "seed": config.train.seed,
        "steps": int(pd.read_csv(REPORTS / "learning_curve.csv")["step"].max()),
        "epochs": training_report["best_epoch"],
        "rows": training_report["rows"],
        "seconds": seconds,
        "parameters": training_report["parameters"],
        "trained_parameters": training_report["trained_parameters"],
        "refit": training_report["refit"],
        "energy": energy,
        "cost": cost,
    }


def _scores(config: Params, champion_report: Path | None) -> records.Scores:
    metrics, report = tuple(task_metrics.of(config.task).titles), read_report("evaluate")
    champion = json.loads((champion_report / "evaluate.json").read_text("utf-8")) if champion_report else None
    return {
        "rows": report["rows"],
        "confidence": config.evaluate.confidence,
        "candidate": _scored(report, "", metrics),
        "base": _scored(report, "base_", metrics),
        "probe": _scored(report, "probe_", metrics) if task_data.of(config.task).has_labels else None,
        "champion": _scored(champion, "", metrics) if champion else None,
    }


def _scored(report: Report, prefix: str, metrics: Sequence[str]) -> records.Scored:
    return {
        metric: {
            "value": report[prefix + metric],
            "low": report[f"{prefix}{metric}_low"],
            "high": report[f"{prefix}{metric}_high"],
            "n": report["rows"],
        }
        for metric in metrics
        if prefix + metric in report
    }


def estimates(seconds: float, on_gpu: bool, estimate_config: Estimate) -> tuple[records.Estimate, records.Estimate]:
    """Energy and cost of training, from the power and prices of the params: kWh = W x s / 3,600,000."""
    watts = estimate_config.gpu_watts + estimate_config.cpu_watts if on_gpu else estimate_config.cpu_watts
    kwh = watts * seconds / 3.6e6
    prices = {"price_per_kwh": estimate_config.price_per_kwh, "price_per_hour": estimate_config.price_per_hour}
    cost = kwh * prices["price_per_kwh"] + seconds / 3600 * prices["price_per_hour"]
    return (
        {"estimate": True, "value": round(kwh, 6), "unit": "kWh", "inputs": {"seconds": seconds, "watts": watts}},
        {
            "estimate": True,
            "value": round(cost, 6),
            "unit": estimate_config.currency,
            "inputs": {"seconds": seconds, "kwh": kwh, **prices},
        },
    )


def version_tags(record: Record, checksums: dict[str, str]) -> dict[str, str]:
    """Tags of the version, which MLflow's page shows. checksums: tag -> hash or signer of the sealed folder."""
    code, data, base = record["code"], record["data"], record["base"]
    return {
        **checksums,
        "fingerprint": record["fingerprint"],
        "git.commit": code["commit"],
        "git.dirty": str(code["dirty"]).lower(),
        "record.name": code["record_name"],
        "record.commit": code["record_commit"],
        "data.raw": data["raw"]["md5"],
        **{f"data.{split}": data["sides"][split]["md5"] for split in row_table.SPLITS},
        **({"data.general": data["general"]["md5"]} if "general" in data and data["general"]["learned"] else {}),
        "base.name": base["name"],
        "base.revision": base["revision"],
        "base.sha256": base["sha256"],
        "base.licence": base["licence"][:500],  # some packages declare the whole text, too long for a tag
        "lock.sha256": record["environment"]["lock_sha256"],
        "prefect.run": record["started"]["prefect_run"],
        "validation": data["validation"]["verdict"],
        "method": record["training"]["method"],
        "start": record["training"]["start"]["from"],
    }


def history_facts(version: versions.Version) -> dict[str, str]:
    """Facts of the version's entry in the history, which answers without the registry."""
    tags = version.tags
    return {
        Fact.RECORD: tags["record.commit"],
        Fact.FINGERPRINT: tags["fingerprint"],
        Fact.EVIDENCE: tags["evidence"],
        Fact.SEAL: tags["seal"],
        Fact.SIGNER: tags["signer"],
        Fact.START: tags.get("start", parent_version.BASE),
        **{md5_fact(name): tags[f"data.{name}"] for name in ("raw", *row_table.SPLITS)},
        **({Fact.GENERAL: tags["data.general"]} if "data.general" in tags else {}),
    }


def as_dict(config: Params) -> dict[str, Any]:
    return cast(dict[str, Any], json.loads(json.dumps(config, default=vars)))


def read_report(stage: str) -> Report:
    return cast(Report, json.loads((REPORTS / f"{stage}.json").read_text("utf-8")))
