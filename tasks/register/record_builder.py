"""The record of a version: everything known of how its model was made, one builder for each section.

Sections and fields are those of `retune/lineage/record.schema.json`.
"""

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from retune.config.params import Estimate, Params
from retune.data import row_table, source_facts, suppression
from retune.evaluation import task_metrics
from retune.lineage import ancestry, parent_version
from retune.lineage.record import Record
from retune.models import base_model
from retune.models.manifest import CausalLMManifest, ClassifierManifest
from retune.promotion.gate import Decision, as_record
from retune.registry import versions
from retune.system import dvc_pipeline, git
from retune.system.files import file_sha256

MODEL, REPORTS, TEST = Path("models/candidate"), Path("models/reports"), Path("data/splits/test.parquet")
RAW, LOCK = Path("data/raw"), Path("requirements.lock")
GENERAL = "data/curated/general.parquet"


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
    """What the gate decided, and the folder of the champion's scores if there was one."""

    decision: Decision
    champion_report: Path | None
    champion_test: str | None = None  # md5 of the champion's own test side, if it is still kept


def record_of(
    params: Params,
    origin: Origin,
    gate: Gate,
    fingerprint: str,
    card: ClassifierManifest | CausalLMManifest,
    files: dict[str, str],
) -> Record:
    """All that is known of how the model was made, in the shape of record.schema.json."""
    curated, validated, split = (read_report(name) for name in ("curate", "validate", "split"))
    training, scored, hashes = read_report("train"), read_report("evaluate"), dvc_pipeline.hashes()
    names = tuple(task_metrics.METRIC_TITLES[params.task])
    champion = json.loads((gate.champion_report / "evaluate.json").read_text()) if gate.champion_report else None
    commit, dirty = git.commit()
    where = base_model.find(card.base_name)
    stated = source_facts.sources(RAW)
    return {
        "schema_version": 2,
        "name": params.register.name,
        "fingerprint": fingerprint,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "started": {
            "by": git.identity(),
            "command": origin.command,
            "why": list(origin.why),
            "prefect_run": origin.prefect_run_id,
            "mlflow_run": origin.run_id,
        },
        "data": {
            "raw": {"md5": hashes["data/raw"], "rows": curated["received"]},
            "sources": {name: {**count, **stated[name]} for name, count in curated["sources"].items()},
            "curated": {"md5": hashes["data/curated/rows.parquet"], "rows": curated["kept"]},
            "rejected": {
                "md5": hashes["data/curated/rejects.parquet"],
                "rows": curated["rejected"],
                "reasons": {reason: count for reason, count in curated["reasons"].items() if count},
            },
            "suppressed": {"md5": hashes["data/suppressed.json"], "ids": suppression.count(suppression.read())},
            "validation": {
                "verdict": validated["verdict"],
                "suite_sha256": validated["suite_sha256"],
                "expectations": len(validated["expectations"]),
                "report_md5": hashes["models/reports/validate.json"],
            },
            "sides": {
                side: {
                    "md5": hashes[f"data/splits/{side}.parquet"],
                    "rows": split["rows"][side],
                    "labels": {label: count[side] for label, count in split["labels"].items() if count[side]},
                }
                for side in row_table.SPLITS
            },
            **general_of(curated, training, hashes),
        },
        "base": {
            "name": card.base_name,
            "revision": base_model.revision(card.base_name),
            "sha256": card.base_sha256,
            "licence": base_model.licence(card.base_name, where),
            "files": base_model.hashes(where),
        },
        "code": {
            "commit": commit,
            "dirty": dirty,
            "diff_sha256": git.diff_sha256(commit, origin.record_commit),
            "record_name": origin.record_name,
            "record_commit": origin.record_commit,
            "modules": {path: md5 for path, md5 in hashes.items() if path.endswith(".py")},
        },
        "environment": {
            "lock_sha256": file_sha256(LOCK),
            "python": platform.python_version(),
            "platform": platform.platform(),
            **{name: training[name] for name in ("torch", "cuda", "device", "threads", "deterministic")},
        },
        "training": {
            "method": params.train.method,
            "start": training["start"],
            "seed": params.train.seed,
            "steps": int(pd.read_csv(REPORTS / "learning_curve.csv")["step"].max()),
            "epochs": training["best_epoch"],
            **{name: training[name] for name in ("rows", "seconds", "parameters", "trained_parameters", "refit")},
            **estimates(training["seconds"], training["device"] != "cpu", params.register.estimate),
        },
        "params": as_dict(params),
        "scores": {
            "rows": scored["rows"],
            "confidence": params.evaluate.confidence,
            "candidate": _scores(scored, "", names),
            "base": _scores(scored, "base_", names),
            "probe": _scores(scored, "probe_", names) if params.task == "classify" else None,
            "champion": _scores(champion, "", names) if champion else None,
        },
        "gate": as_record(gate.decision, params.promote, gate.champion_test),
        "pipeline": {"lock_md5": dvc_pipeline.lock_md5(), "hashes": hashes},
        "files": files,
    }


def general_of(curated: dict[str, Any], training: dict[str, Any], hashes: dict[str, str]) -> dict[str, Any]:
    """The general examples, apart from the rows: which files, and how many of each were learned from. Empty without."""
    if "general" not in curated:
        return {}
    learned = training.get("general", {"rows": 0, "files": {}})
    files = {
        name: {**file, "learned": learned["files"].get(name, 0)} for name, file in curated["general"]["files"].items()
    }
    kept = sum(file["kept"] for file in files.values())
    return {"general": {"md5": hashes[GENERAL], "rows": kept, "learned": learned["rows"], "files": files}}


def _scores(told: dict[str, Any], prefix: str, names: Sequence[str]) -> dict[str, Any]:
    return {
        name: {
            "value": told[prefix + name],
            "low": told[f"{prefix}{name}_low"],
            "high": told[f"{prefix}{name}_high"],
            "n": told["rows"],
        }
        for name in names
        if prefix + name in told
    }


def estimates(seconds: float, on_gpu: bool, section: Estimate) -> dict[str, Any]:
    """Energy and cost of training, from the power and prices of the params: kWh = W x s / 3,600,000."""
    watts = section.gpu_watts + section.cpu_watts if on_gpu else section.cpu_watts
    energy = watts * seconds / 3.6e6
    cost = energy * section.price_per_kwh + seconds / 3600 * section.price_per_hour
    prices = {"kwh": energy, "price_per_kwh": section.price_per_kwh, "price_per_hour": section.price_per_hour}
    return {
        "energy": {
            "estimate": True,
            "value": round(energy, 6),
            "unit": "kWh",
            "inputs": {"seconds": seconds, "watts": watts},
        },
        "cost": {
            "estimate": True,
            "value": round(cost, 6),
            "unit": section.currency,
            "inputs": {"seconds": seconds, **prices},
        },
    }


def version_tags(made: Record, marks: dict[str, str]) -> dict[str, str]:
    """What MLflow's page of a version shows of its record."""
    code, data, origin = made["code"], made["data"], made["started"]
    return {
        **marks,
        "fingerprint": made["fingerprint"],
        "git.commit": code["commit"],
        "git.dirty": str(code["dirty"]).lower(),
        "record.name": code["record_name"],
        "record.commit": code["record_commit"],
        "data.raw": data["raw"]["md5"],
        **{f"data.{side}": data["sides"][side]["md5"] for side in row_table.SPLITS},
        **({"data.general": data["general"]["md5"]} if data.get("general", {}).get("learned") else {}),
        "base.name": made["base"]["name"],
        "base.revision": made["base"]["revision"],
        "base.sha256": made["base"]["sha256"],
        "base.licence": made["base"]["licence"][:500],  # some packages declare the whole text, too long for a tag
        "lock.sha256": made["environment"]["lock_sha256"],
        "prefect.run": origin["prefect_run"],
        "validation": data["validation"]["verdict"],
        "method": made["training"]["method"],
        "start": made["training"]["start"]["from"],
    }


def facts(version: versions.Version) -> dict[str, str]:
    """What the history says of a version, so that it answers without the registry."""
    tags = version.tags
    return {
        "Record": tags["record.commit"],
        "Fingerprint": tags["fingerprint"],
        "Evidence": tags["evidence"],
        "Seal": tags["seal"],
        "Signer": tags["signer"],
        ancestry.START: tags.get("start", parent_version.BASE),
        **{name.capitalize(): tags[f"data.{name}"] for name in ("raw", *row_table.SPLITS)},
        **({ancestry.GENERAL: tags["data.general"]} if "data.general" in tags else {}),
    }


def as_dict(params: Params) -> dict[str, Any]:
    return json.loads(json.dumps(params, default=vars))


def read_report(stage: str) -> dict[str, Any]:
    return json.loads((REPORTS / f"{stage}.json").read_text("utf-8"))
