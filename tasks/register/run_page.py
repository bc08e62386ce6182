"""What MLflow shows of a run and of a version: parameters, curves, scores, datasets, artifacts, descriptions.

The gate scores the champion after the stage `evaluate` has written its report, so the report with the champion is
written here.
"""

import json
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from retune.config.params import Params
from retune.documents import data_card, model_card, record_facts
from retune.evaluation import report, task_metrics
from retune.lineage.record import Record
from retune.models import manifest as manifests
from retune.models.manifest import CausalLMManifest, ClassifierManifest
from retune.promotion import robustness_guardrail
from retune.registry import runs
from tasks.register.record_builder import MODEL, REPORTS, as_dict, read_report

RECIPE = [Path(name) for name in ("dvc.lock", "dvc.yaml", "params.yaml", "requirements.lock")]
REPORT, STAGE_REPORT = Path(".retune/report.html"), REPORTS / "report.html"  # with and without the champion


def log_lifecycle(config: Params, run_id: str, record: Record) -> None:
    """Everything that a data scientist looks for on the page of a run."""
    runs.log_params(run_id, as_dict(config))
    runs.log_curve(run_id, pd.read_csv(REPORTS / "learning_curve.csv"))
    scores = with_champion(read_report("evaluate"), record)
    runs.log_metrics(run_id, scores)
    training = read_report("train")
    runs.log_metrics(run_id, {f"train_{name}": training[name] for name in ("seconds", "best_epoch", "rows")})
    if replay := record["data"].get("general"):
        runs.log_metrics(run_id, {"train_general_rows": replay["learned"]})
    splits = record["data"]["sides"]
    for split, context in (("train", "training"), ("val", "validation"), ("test", "testing")):
        runs.log_dataset(run_id, split, Path(f"data/splits/{split}.parquet"), splits[split]["md5"], context)
    data = splits["train"]["md5"][:8]
    runs.set_tags(run_id, {"method": config.train.method, "data": data, "fingerprint": record["fingerprint"]})
    write_report(scores, record)
    runs.log_artifacts(run_id, [REPORTS / "plots", REPORTS / "data_docs", REPORT])
    runs.log_artifacts(run_id, sorted(REPORTS.glob("*.json")), "reports")
    runs.log_artifacts(run_id, RECIPE, "recipe")
    runs.log_text(run_id, model_card.model_card(record), "model_card.md")
    runs.log_text(run_id, data_card.data_card(record), data_card.CARD)
    paragraphs = [scores_table(scores, config.task), record_facts.describe_replay(record)]
    runs.describe(run_id, "\n\n".join(filter(None, paragraphs)))


def with_champion(scores: dict[str, float], record: Record) -> dict[str, float]:
    """The scores of evaluate.json, and those of the champion that the gate compared with, if there was one."""
    champion = record["scores"]["champion"] or {}
    return scores | {
        f"champion_{name}{end}": value
        for name, score in champion.items()
        for end, value in (("", score["value"]), ("_low", score["low"]), ("_high", score["high"]))
    }


def write_report(scores: dict[str, float], record: Record) -> None:
    """The report of the stage `evaluate` once more, with the champion beside the others."""
    REPORT.parent.mkdir(exist_ok=True)
    details = json.loads((REPORTS / "details.json").read_text("utf-8"))
    if "robustness" in details and record["gate"]["champion"]:
        bounds = [each for each in record["gate"].get("bounds", []) if each["kind"] == robustness_guardrail.KIND]
        details["robustness"]["champion"] = {each["name"]: -each["loss"] for each in bounds}
    pictures = sorted((REPORTS / "plots").rglob("*.png"))
    report.write(REPORT, scores, details, asdict(manifests.read(MODEL)), pictures)


def summary(task: str) -> str:
    """The model in one line, of which MLflow's list of versions shows the first thirty characters."""
    scores, manifest = read_report("evaluate"), manifests.read(MODEL)
    titles, main = task_metrics.of(task).titles, task_metrics.of(task).primary
    others = ", ".join(
        f"{title} {scores[name]:.3f}" for name, title in titles.items() if name in scores and name != main
    )
    gain = f"{scores['gain_over_base']:+.3f}{task_metrics.scale_of(main).unit}"
    first = f"{titles[main]} {scores[main]:.3f}, {gain} over the base"
    return f"{first}; {others}; {about(manifest)}, {scores['rows']} test rows"


def about(manifest: ClassifierManifest | CausalLMManifest) -> str:
    labels = f", {len(manifest.labels)} labels" if isinstance(manifest, ClassifierManifest) else ""
    return f"method {manifest.method}{labels}"


def scores_table(scores: dict[str, float], task: str) -> str:
    """Model, probe and base side by side, in Markdown."""
    titles = {name: title for name, title in task_metrics.of(task).titles.items() if name in scores}

    def line(title: str, prefix: str) -> str:
        cells = [
            f"{scores[prefix + name]:.4f} [{scores[prefix + name + '_low']:.3f}, {scores[prefix + name + '_high']:.3f}]"
            for name in titles
        ]
        return f"| {title} | {' | '.join(cells)} |"

    rivals = {"champion_": report.CHAMPION, **task_metrics.of(task).baselines}
    others = [
        line(title, prefix) for prefix, title in rivals.items() if all(f"{prefix}{name}" in scores for name in titles)
    ]
    head = [f"| model | {' | '.join(titles.values())} |", f"|---{'|---' * len(titles)}|"]
    return "\n".join([*head, line("this model", ""), *others])
