"""What the model may do alone: thresholds chosen on validation rows, checked on the test rows, and what follows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from retune.config.classification import Automation
from retune.evaluation import automation, plots
from retune.evaluation.automation import Answers
from retune.models import routing
from retune.system import stage_io


@dataclass(frozen=True)
class Automated:
    routes: list[str]  # [test rows]
    headline: dict[str, float]
    details: dict[str, Any]  # automation.json; empty for a model folder that has made its choice already


def report_on(
    test: pd.DataFrame, validation: pd.DataFrame | None, model_folder: Path, config: Automation, out: Path
) -> Automated:
    """test, validation: label, predicted and confidence of each row; validation is None for any other than a candidate.

    Writes automation.json, and the curve of risk over coverage.
    """
    answers = automation.answers_of(test)
    if validation is None:
        return Automated(_routes(routing.read(model_folder), test), {}, {})
    document = automation.document(validation, test, config)
    stage_io.write_json(document, out / routing.FILE)
    curve = automation.risk_coverage(answers.confidence, answers.right)
    plots.risk_coverage(*curve, _point(document), config.precision, out / "plots" / "scores" / "risk_coverage.png")
    print(f"automation: {document['reason']}", flush=True)
    return Automated(_routes(routing.parse(document), test), automation.headline(document), document)


def refuse_all(out: Path) -> None:
    """automation.json of a model that writes: it promises nothing yet."""
    nothing = Answers(np.array([], object), np.array([]), np.array([], bool))
    reason = "a model that writes promises nothing, so a person reads everything"
    stage_io.write_json(automation.off(nothing, reason), out / routing.FILE)


def _routes(chosen: routing.Routing, answers: pd.DataFrame) -> list[str]:
    return chosen.routes(answers["predicted"].tolist(), answers["confidence"].to_numpy(float))


def _point(document: dict[str, Any]) -> tuple[float, float] | None:
    """Coverage and risk of the rule; None where nobody may be left out."""
    share, precision = document["share"], document["precision"]
    return (share["value"], 1 - precision["value"]) if share and precision else None
