"""Put the model, its scores and the files that made it in the registry: once per fingerprint.

A version is registered with all its tags or not at all; then it is loaded again in a clean process, and only
if that says what evaluation said does it become `challenger`. A run that was cut off anywhere in between goes on
where it stopped.
"""

import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.core import example, lineage, registry
from tasks.core.card import Card, file_sha256, read_card
from tasks.core.errors import Refused
from tasks.core.params import Params, Register

MODEL, REPORTS, TEST = Path("models/candidate"), Path("models/reports"), Path("data/splits/test.parquet")
RECIPE = [Path(name) for name in ("dvc.lock", "dvc.yaml", "params.yaml", "requirements.lock")]
SERVING = ("mlflow", "numpy", "pandas", "peft", "safetensors", "torch", "transformers")
RELOADED = "reloaded"


@dataclass(frozen=True)
class Origin:
    """Who made this version: what only the flow knows."""

    run_id: str
    prefect_run_id: str
    record_name: str
    record_commit: str


def register(params: Params, origin: Origin) -> registry.Version:
    """The registered version of the model in `models/candidate`; a new one unless its fingerprint is known."""
    fingerprint = lineage.fingerprint()
    log_lifecycle(params, origin.run_id, fingerprint)
    try:
        version = registry.find(params.register.name, fingerprint=fingerprint)
    except Refused:
        card = read_card(MODEL)
        tags = version_tags(origin, fingerprint, card)
        version = registry.add_version(params.register.name, origin.run_id, MODEL, requirements(card), tags, summary())
    if RELOADED not in version.tags:
        check_reload(version, params.register)
        registry.set_alias(version, registry.CHALLENGER)
    return registry.find(version.name, version=version.version)


def log_lifecycle(params: Params, run_id: str, fingerprint: str) -> None:
    """Everything that a data scientist looks for on the page of a run."""
    data = lineage.data()
    registry.log_params(run_id, as_dict(params))
    registry.log_curve(run_id, pd.read_csv(REPORTS / "learning_curve.csv"))
    registry.log_metrics(run_id, _report("evaluate"))
    training = _report("train")
    registry.log_metrics(run_id, {f"train_{name}": training[name] for name in ("seconds", "best_epoch", "rows")})
    for side, context in (("train", "training"), ("val", "validation"), ("test", "testing")):
        registry.log_dataset(run_id, side, Path(f"data/splits/{side}.parquet"), data[side], context)
    registry.set_tags(run_id, {"method": params.train.method, "data": data["train"][:8], "fingerprint": fingerprint})
    registry.log_artifacts(run_id, [REPORTS / "plots", REPORTS / "data_docs", REPORTS / "report.html"])
    registry.log_artifacts(run_id, sorted(REPORTS.glob("*.json")), "reports")
    registry.log_artifacts(run_id, RECIPE, "recipe")
    registry.log_text(run_id, model_card(params), "model_card.md")
    registry.describe(run_id, scores_table(_report("evaluate")))


def as_dict(params: Params) -> dict[str, Any]:
    return json.loads(json.dumps(params, default=vars))


def _report(stage: str) -> dict[str, Any]:
    return json.loads((REPORTS / f"{stage}.json").read_text("utf-8"))


def version_tags(origin: Origin, fingerprint: str, card: Card) -> dict[str, str]:
    commit, dirty = lineage.commit()
    _, _, revision = card.base_name.partition("@")
    return {
        "fingerprint": fingerprint,
        "git.commit": commit,
        "git.dirty": str(dirty).lower(),
        "record.name": origin.record_name,
        "record.commit": origin.record_commit,
        **{f"data.{name}": md5 for name, md5 in lineage.data().items()},
        "base.name": card.base_name,
        "base.revision": revision or _package_version(card.base_name),
        "base.sha256": card.base_sha256,
        "lock.sha256": file_sha256(Path("requirements.lock")),
        "prefect.run": origin.prefect_run_id,
        "validation": _report("validate")["verdict"],
        "method": card.method,
    }


def _package_version(base: str) -> str:
    kind, _, package = base.partition(":")
    return importlib.metadata.version(package) if kind == "package" else "none"


def requirements(card: Card) -> list[str]:
    """What a server must install to serve the model."""
    kind, _, package = card.base_name.partition(":")
    names = [*SERVING, *([package] if kind == "package" else [])]
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in names]


def check_reload(version: registry.Version, section: Register) -> None:
    """Predict some test rows with the version as MLflow loads it. Raises Refused if it says anything else."""
    said = example.read(REPORTS / "predictions.parquet").head(section.probe_rows)
    texts = example.read(TEST).set_index("id").loc[said["id"], "text"].tolist()
    again = registry.predict_in_clean_process(version, texts)
    distance = largest_distance(said, again)
    if not distance <= section.tolerance:  # a confidence that is no number is no agreement either
        reason = f"{version} says something else once reloaded: confidence off by {distance:.2g}, or another label"
        registry.tag_version(version, {"refused": reason})
        raise Refused(f"{reason}; allowed is {section.tolerance:.2g}. No alias was moved")
    registry.tag_version(version, {RELOADED: f"{len(said)} test rows, confidence off by {distance:.2g} at most"})


def largest_distance(said: pd.DataFrame, again: pd.DataFrame) -> float:
    """The largest difference in confidence; 1 if any label differs."""
    if said["predicted"].tolist() != again["label"].tolist():
        return 1.0
    return float(np.abs(said["confidence"].to_numpy() - again["confidence"].to_numpy()).max())


def summary() -> str:
    """The model in one line, of which MLflow's list of versions shows the first thirty characters."""
    scores, card = _report("evaluate"), read_card(MODEL)
    return (
        f"macro-F1 {scores['macro_f1']:.3f}, {scores['gain_over_base']:+.3f} over the base; accuracy "
        f"{scores['accuracy']:.3f}; method {card.method}, {len(card.labels)} labels, {scores['rows']} test rows"
    )


def scores_table(scores: dict[str, float]) -> str:
    """Model, probe and base side by side, in Markdown."""

    def line(title: str, prefix: str) -> str:
        cells = [
            f"{scores[prefix + name]:.4f} [{scores[prefix + name + '_low']:.3f}, {scores[prefix + name + '_high']:.3f}]"
            for name in ("accuracy", "macro_f1", "calibration_error")
        ]
        return f"| {title} | {' | '.join(cells)} |"

    return f"""| model | accuracy | macro-F1 | calibration error |
|---|---|---|---|
{line("this model", "")}
{line("probe: logistic regression on the frozen base", "probe_")}
{line("base: nearest label name", "base_")}"""


def model_card(params: Params) -> str:
    """The card, in Markdown: what the model is for, from what, how good, and where it ends."""
    scores, training, curated, split = (_report(name) for name in ("evaluate", "train", "curate", "split"))
    card, data = read_card(MODEL), lineage.data()
    worst = sorted(json.loads((REPORTS / "details.json").read_text("utf-8"))["labels"], key=lambda row: row["f1"])
    weak = ", ".join(f"{row['label']} ({row['f1']:.2f}, {row['rows']} rows)" for row in worst[:3])
    sources = ", ".join(
        f"{name} ({count['kept']} of {count['received']})" for name, count in curated["sources"].items()
    )
    return f"""# {params.register.name}

## Intended use
Puts one text into one of {len(card.labels)} labels: {", ".join(card.labels)}. For routing and triage with a person
able to correct it. Not for decisions about people, and not for texts of another kind than those below.

## Data
- Sources, rows kept of rows received: {sources}.
- {curated["kept"]} rows after curation, {curated["rejected"]} rejected, each with its reason. Validation:
  {_report("validate")["verdict"]}.
- Sides: {", ".join(f"{side} {count}" for side, count in split["rows"].items())} rows; no group on two sides.
- DVC hashes: {", ".join(f"{name} `{md5}`" for name, md5 in data.items())}.

## Model
- Base `{card.base_name}`, sha256 of its weights `{card.base_sha256}`. {_base_licence(card.base_name)}
- Method {card.method}, {training["trained_parameters"]:,} of {training["parameters"]:,} parameters trained on
  {training["rows"]} rows{" (train + val, after choosing on val)" if training["refit"] else ""}; texts cut at
  {card.max_tokens} tokens.

## Scores
On {scores["rows"]} test rows that training did not see; in brackets {params.evaluate.confidence:.0%} bootstrap
intervals.

{scores_table(scores)}

## Limits
- Weakest labels by F1: {weak}.
- The test rows come from the same sources as the training rows: other sources may score lower.
- The confidence is the model's own; see the reliability plot before acting on it.
"""


def _base_licence(base: str) -> str:
    """What the package that carries the base says of its licence; of other bases nothing is known here."""
    kind, _, package = base.partition(":")
    if kind != "package":
        return "Its licence is not recorded: look it up where the base comes from."
    told = importlib.metadata.metadata(package).json
    declared = told.get("license_expression") or told.get("license") or "no licence"
    lines = str(told.get("description", "")).splitlines()
    return " ".join(
        [f"The package declares {declared}.", *[line for line in lines if "weights are distributed" in line]]
    )
