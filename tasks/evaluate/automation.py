"""What the model may do alone: thresholds chosen on validation rows, checked on the test rows, and what follows."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from retune.config.classification import Automation
from retune.evaluation import automation, out_of_scope, plots
from retune.evaluation.automation import Answers
from retune.models import routing
from retune.models.classifier import Predictions
from retune.system import stage_io


@dataclass(frozen=True)
class Automated:
    routes: list[str]  # [test rows]
    headline: dict[str, float]
    details: dict[str, Any]  # automation.json; empty for a model folder that has made its choice already


def report_on(
    test: pd.DataFrame,
    validation: pd.DataFrame | None,
    model_folder: Path,
    predict: Callable[[list[str]], Predictions],
    config: Automation,
    others: Sequence[str],
    out: Path,
) -> Automated:
    """test, validation: label, predicted and confidence of each row; validation is None for any other than a candidate.

    predict: of the candidate, for texts that are out of its scope; others: such texts among the records. Writes
    automation.json, and the curve of risk over coverage.
    """
    answers = automation.answers_of(test)
    if validation is None:
        return Automated(_routes(routing.read(model_folder), test), {}, {})
    document = automation.document(validation, test, config)
    rule = routing.parse(document)
    document["out_of_scope"] = _out_of_scope(rule, answers, predict, config, others)
    write(document, answers, config.precision, out)
    headline = automation.headline(document) | out_of_scope.headline(document["out_of_scope"])
    return Automated(_routes(rule, test), headline, document)


def write(document: dict[str, Any], answers: Answers, precision: float | None, out: Path) -> None:
    """automation.json, and the curve of risk over coverage of the answers to test rows."""
    stage_io.write_json(document, out / routing.FILE)
    curve = automation.risk_coverage(answers.confidence, answers.right)
    plots.risk_coverage(*curve, _point(document), precision, out / "plots" / "scores" / "risk_coverage.png")
    print(f"automation: {document['reason']}", flush=True)


def _out_of_scope(
    rule: routing.Routing,
    answers: Answers,
    predict: Callable[[list[str]], Predictions],
    config: Automation,
    others: Sequence[str],
) -> dict[str, Any] | None:
    """None without such texts."""
    texts = list(dict.fromkeys([*others, *out_of_scope.read(config.out_of_scope)]))
    if not texts:
        return None
    with stage_io.heartbeat(f"asking {len(texts):,} texts of no label"):
        outside = predict(texts)
    alone = rule.routes(outside.labels, outside.confidence).count(routing.AUTO)
    share = automation.exact_interval(alone, len(texts), config.confidence)
    auroc = out_of_scope.auroc(answers.confidence, outside.confidence)
    print(f"out of scope: nobody would read {alone} of {len(texts)} texts; AUROC {auroc:.4f}", flush=True)
    return {"share": {**asdict(share), "n": len(texts)}, "auroc": round(auroc, 9)}


def _routes(rule: routing.Routing, answers: pd.DataFrame) -> list[str]:
    return rule.routes(answers["predicted"].tolist(), answers["confidence"].to_numpy(float))


def _point(document: dict[str, Any]) -> tuple[float, float] | None:
    """Coverage and risk of the rule; None where nobody may be left out."""
    share, precision = document["share"], document["precision"]
    return (share["value"], 1 - precision["value"]) if share and precision else None
