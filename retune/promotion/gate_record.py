"""The gate's inputs from the files of a run, and its decision as records, runs and their checks have it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd

from retune.data.row_table import SLICES
from retune.errors import Refused
from retune.evaluation import task_metrics
from retune.promotion import golden_guardrail, latency, membership_guardrail, verbatim_guardrail
from retune.promotion.gate import Decision, PromoteConfig, RivalResult, compare_predictions
from retune.promotion.guardrails import Guardrail, Results


def with_source(predictions: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """predictions.parquet with the source of each row of the test split, and its slices if the rows have any.

    Raises Refused if an id is not unique.
    """
    if twice := rows["id"][rows["id"].duplicated()].tolist():
        raise Refused(f"the test split holds the id {twice[0]!r} more than once, so its bytes are damaged")
    columns = {
        name: predictions["id"].map(rows.set_index("id")[name]).fillna("").astype(str)
        for name in ("source", SLICES)
        if name in rows
    }
    return predictions.assign(**columns)


def questions_of(details: Mapping[str, Any]) -> pd.DataFrame | None:
    """set, right and base_right of each question, from details.json; None if no question was asked."""
    questions = details.get("general")
    return pd.DataFrame(questions) if questions and questions["set"] else None


def own_guardrails(details: Mapping[str, Any], promote_config: PromoteConfig) -> Results:
    """The guardrails of the candidate alone, from its details.json."""
    guardrails, reasons = golden_guardrail.check(details.get("golden", ()))
    for check in (membership_guardrail.check, verbatim_guardrail.check):
        further, further_reasons = check(details.get("measures", {}), promote_config)
        guardrails, reasons = (*guardrails, *further), (*reasons, *further_reasons)
    return guardrails, reasons


def run_metrics(decision: Decision) -> dict[str, float]:
    """The numbers that a run shows."""
    gains = {f"gain_over_{rival.name}": rival.comparison.gain for rival in decision.rivals}
    return gains | ({"latency_ratio": decision.latency.ratio} if decision.latency else {})


def as_record(decision: Decision, promote_config: PromoteConfig, champion_test: str | None) -> dict[str, Any]:
    """The gate's part of a record, in the shape of record.schema.json."""
    return {
        "decision": "champion" if decision.promote else "held",
        "worse": decision.worse,
        "metric": promote_config.metric,
        "confidence": promote_config.confidence,
        "champion": decision.champion,
        "champion_test": champion_test,
        "rivals": [_rival_record(rival) for rival in decision.rivals],
        "bounds": [_guardrail_record(guardrail) for guardrail in decision.guardrails],
        "latency": latency.as_record(decision.latency) if decision.latency else None,
        "reasons": list(decision.reasons),
    }


def _rival_record(rival: RivalResult) -> dict[str, Any]:
    comparison = rival.comparison
    return {
        "name": rival.name,
        "won": rival.is_beaten,
        "outcome": rival.outcome,
        "worse": rival.significantly_worse,
        "margin": rival.margin,
        "gain": comparison.gain,
        "low": comparison.low,
        "high": comparison.high,
        "rows": comparison.rows,
        "needed": rival.required_rows,
        "differing": comparison.discordant,
        "confidence": comparison.confidence,
        "reason": rival.reason,
    }


def _guardrail_record(guardrail: Guardrail) -> dict[str, Any]:
    return {"broken" if name == "violated" else name: value for name, value in asdict(guardrail).items()}


def as_schema_1(
    predictions: pd.DataFrame, champion: pd.DataFrame | None, promote_config: Mapping[str, Any]
) -> dict[str, Any]:
    """The gate's decision in records of schema 1: no guardrails, and two outcomes. For checks of old versions."""
    rivals = {"base": task_metrics.predictions_of(predictions, "base_")}
    if champion is not None:
        rivals["champion"] = champion
    metric, confidence = promote_config["metric"], promote_config["confidence"]
    reasons, all_beaten = [], True
    for name, rival in rivals.items():
        margin = promote_config[f"margin_over_{name}"]
        result = compare_predictions(
            predictions, rival, metric, margin, confidence, promote_config["bootstrap"], promote_config["seed"]
        )
        beaten = result.gain > margin and result.confidence >= confidence
        all_beaten = all_beaten and beaten
        gain = f"gain {result.gain:+.4f} [{result.low:+.4f}, {result.high:+.4f}] on {result.rows} rows"
        above = f"above the margin of {margin:g} in {result.confidence:.1%} of resamples, {confidence:.0%} asked"
        reasons.append({"reason": f"{metric} {'beats' if beaten else 'does not beat'} the {name}: {gain}; {above}"})
    return {"decision": "champion" if all_beaten else "held", "rivals": reasons}
