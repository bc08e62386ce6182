"""Put the model, its scores and the record of what made it in the registry: once per fingerprint.

A version is registered with all its tags or not at all. It carries its record (`lineage.json`), what follows from
that (provenance, bill of materials, model card, page), the checksum of every file, and a signature if there is a
key. Then it is loaded again in a clean process, and only if that says what evaluation said does it become
`challenger`. A run that was cut off anywhere in between goes on where it stopped.
"""

import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from retune.config.params import Estimate, Params, Register
from retune.data import row_table, source_facts, suppression
from retune.documents import statements
from retune.documents.lineage_page import page
from retune.errors import Refused
from retune.evaluation import task_metrics
from retune.lineage import ancestry, checksums, history, parent_version, record, signing
from retune.lineage.record import Record
from retune.models import base_model
from retune.models import manifest as cards
from retune.models.manifest import CausalLMManifest, ClassifierManifest
from retune.promotion.gate import Decision
from retune.promotion.gate_record import as_record
from retune.registry import clean_process, reload_check, runs, versions
from retune.registry.reload_check import REFUSED, RELOADED
from retune.system import dvc_pipeline, failpoints, git
from retune.system.files import file_sha256

MODEL, REPORTS, TEST = Path("models/candidate"), Path("models/reports"), Path("data/splits/test.parquet")
RAW, LOCK = Path("data/raw"), Path("requirements.lock")
GENERAL = "data/curated/general.parquet"
RECIPE = [Path(name) for name in ("dvc.lock", "dvc.yaml", "params.yaml", "requirements.lock")]
SERVING = ("mlflow", "numpy", "pandas", "peft", "safetensors", "torch", "transformers")


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


# ---------------------------------------------------------------- the record


def record_of(
    params: Params,
    origin: Origin,
    gate: Gate,
    fingerprint: str,
    card: ClassifierManifest | CausalLMManifest,
    files: dict[str, str],
) -> Record:
    """All that is known of how the model was made, in the shape of record.schema.json."""
    curated, validated, split = (_report(name) for name in ("curate", "validate", "split"))
    training, scored, hashes = _report("train"), _report("evaluate"), dvc_pipeline.hashes()
    names = tuple(task_metrics.of(params.task).titles)
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


# ---------------------------------------------------------------- the page of a run


def log_lifecycle(params: Params, run_id: str, made: Record) -> None:
    """Everything that a data scientist looks for on the page of a run."""
    runs.log_params(run_id, as_dict(params))
    runs.log_curve(run_id, pd.read_csv(REPORTS / "learning_curve.csv"))
    runs.log_metrics(run_id, _report("evaluate"))
    training = _report("train")
    runs.log_metrics(run_id, {f"train_{name}": training[name] for name in ("seconds", "best_epoch", "rows")})
    if general := made["data"].get("general"):
        runs.log_metrics(run_id, {"train_general_rows": general["learned"]})
    sides = made["data"]["sides"]
    for side, context in (("train", "training"), ("val", "validation"), ("test", "testing")):
        runs.log_dataset(run_id, side, Path(f"data/splits/{side}.parquet"), sides[side]["md5"], context)
    data = sides["train"]["md5"][:8]
    runs.set_tags(run_id, {"method": params.train.method, "data": data, "fingerprint": made["fingerprint"]})
    runs.log_artifacts(run_id, [REPORTS / "plots", REPORTS / "data_docs", REPORTS / "report.html"])
    runs.log_artifacts(run_id, sorted(REPORTS.glob("*.json")), "reports")
    runs.log_artifacts(run_id, RECIPE, "recipe")
    runs.log_text(run_id, statements.model_card(made), "model_card.md")
    told = statements.general_of(made)
    runs.describe(run_id, "\n\n".join([scores_table(_report("evaluate"), params.task), *([told] if told else [])]))


def as_dict(params: Params) -> dict[str, Any]:
    return json.loads(json.dumps(params, default=vars))


def _report(stage: str) -> dict[str, Any]:
    return json.loads((REPORTS / f"{stage}.json").read_text("utf-8"))


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


def summary(task: str) -> str:
    """The model in one line, of which MLflow's list of versions shows the first thirty characters."""
    scores, card = _report("evaluate"), cards.read(MODEL)
    titles, main = task_metrics.of(task).titles, task_metrics.of(task).primary
    told = ", ".join(f"{title} {scores[name]:.3f}" for name, title in titles.items() if name in scores and name != main)
    gain = f"{scores['gain_over_base']:+.3f}{task_metrics.scale_of(main).unit}"
    first = f"{titles[main]} {scores[main]:.3f}, {gain} over the base"
    return f"{first}; {told}; {about(card)}, {scores['rows']} test rows"


def about(card: ClassifierManifest | CausalLMManifest) -> str:
    labels = f", {len(card.labels)} labels" if isinstance(card, ClassifierManifest) else ""
    return f"method {card.method}{labels}"


def scores_table(scores: dict[str, float], task: str) -> str:
    """Model, probe and base side by side, in Markdown."""
    titles = {name: title for name, title in task_metrics.of(task).titles.items() if name in scores}

    def line(title: str, prefix: str) -> str:
        cells = [
            f"{scores[prefix + name]:.4f} [{scores[prefix + name + '_low']:.3f}, {scores[prefix + name + '_high']:.3f}]"
            for name in titles
        ]
        return f"| {title} | {' | '.join(cells)} |"

    others = [line(title, prefix) for prefix, title in task_metrics.of(task).baselines.items()]
    head = [f"| model | {' | '.join(titles.values())} |", f"|---{'|---' * len(titles)}|"]
    return "\n".join([*head, line("this model", ""), *others])
