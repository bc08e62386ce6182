"""The gate: candidate against base and champion on the same rows, yes or no, and why. A tie keeps the champion.

Against each rival there are three outcomes: won; not better; and cannot tell, where the rows are too few to show the
difference that params ask for, with the number that would do. A candidate that wins everywhere is still held if a
guardrail is violated (`retune.promotion.guardrails`), or if it is slower than a limit allows. Pure: frames in, a
decision out.

The reasons are part of a record, and `retune verify` compares them to the letter: a changed word makes the gate of each
older version fail its check.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import pandas as pd

from retune.config.classification import Promote
from retune.config.generation import GenerationPromote
from retune.errors import Refused
from retune.evaluation import statistics, task_metrics
from retune.promotion import guardrails, latency, robustness_guardrail
from retune.promotion.guardrails import Guardrail
from retune.promotion.latency import Latency

PromoteConfig = Promote | GenerationPromote
WON, NOT_BETTER, CANNOT_TELL = "won", "not better", "cannot tell"


@dataclass(frozen=True)
class RivalResult:
    """One comparison of the candidate, and its outcome."""

    name: str  # base or champion
    outcome: str
    significantly_worse: bool
    margin: float
    required_rows: int  # to tell the difference that params ask for
    comparison: statistics.Comparison
    reason: str

    @property
    def is_beaten(self) -> bool:
        return self.outcome == WON


@dataclass(frozen=True)
class Decision:
    promote: bool
    reasons: tuple[str, ...]
    rivals: tuple[RivalResult, ...] = ()
    champion: str | None = None  # NAME/VERSION of the champion that it was compared with
    awaiting: bool = False  # the gate said yes, and a person has to say so too
    guardrails: tuple[Guardrail, ...] = ()
    latency: Latency | None = None  # None: not measured, since there is no champion or it is held anyway
    worse: bool = False  # significantly worse than the champion, or a guardrail of its predictions is violated


def evaluate_gate(
    predictions: pd.DataFrame,
    champion: pd.DataFrame | None,
    promote_config: PromoteConfig,
    champion_name: str | None = None,
    champion_test_ids: Collection[str] | None = None,
    questions: pd.DataFrame | None = None,
    of_candidate: guardrails.Results = ((), ()),
) -> Decision:
    """The whole decision but for the time, which `with_latency` adds.

    predictions: predictions.parquet of the candidate, with the column `source` of its rows; champion: that of the
    champion on the same rows, or None; champion_test_ids: of the rows that the champion was tested on, None if they are
    lost; questions: what a generative model and its base answered in multiple choice: set, right, base_right;
    of_candidate: guardrails of the candidate alone, which hold the first version too, and never call it worse.
    """
    if predictions.empty:
        raise Refused(
            "There are no test rows: the candidate cannot be compared. Add rows, or a larger split.test_share"
        )
    base_predictions = task_metrics.predictions_of(predictions, "base_")
    base = compare_with("base", predictions, base_predictions, promote_config.margin_over_base, promote_config)
    retention, retention_reasons = guardrails.check_retention(questions, promote_config)
    own_guardrails, own_reasons = of_candidate
    own_violated = any(guardrail.violated for guardrail in own_guardrails)
    if champion is None:
        passed = base.is_beaten and not own_violated and not any(guardrail.violated for guardrail in retention)
        reasons = (base.reason, *retention_reasons, *own_reasons)
        return Decision(passed, reasons, (base,), champion_name, guardrails=(*retention, *own_guardrails))
    _require_same_rows(predictions, champion)
    rival = compare_with("champion", predictions, champion, promote_config.margin_over_champion, promote_config)
    parts, part_reasons = guardrails.check(predictions, champion, promote_config, champion_test_ids)
    changed_rows, changed_reasons = robustness_guardrail.check(predictions, champion, promote_config)
    violated = any(guardrail.violated for guardrail in (*parts, *changed_rows, *retention))
    return Decision(
        promote=base.is_beaten and rival.is_beaten and not violated and not own_violated,
        reasons=(base.reason, rival.reason, *part_reasons, *changed_reasons, *retention_reasons, *own_reasons),
        rivals=(base, rival),
        champion=champion_name,
        guardrails=(*parts, *changed_rows, *retention, *own_guardrails),
        worse=rival.significantly_worse or violated,
    )


def _require_same_rows(predictions: pd.DataFrame, champion: pd.DataFrame) -> None:
    columns = [name for name in ("id", "label") if name in predictions and name in champion]
    if predictions[columns].to_numpy().tolist() != champion[columns].to_numpy().tolist():
        raise Refused("The candidate and the champion were scored on different rows. Score both on the same test split")


def with_latency(decision: Decision, measurement: Latency, promote_config: PromoteConfig) -> Decision:
    """The decision once both models were timed. A slow model does not point to bad data: it is not `worse`."""
    limit = promote_config.latency_ratio
    return replace(
        decision,
        promote=decision.promote and not latency.is_too_slow(measurement, limit),
        reasons=(*decision.reasons, latency.reason(measurement, limit)),
        latency=measurement,
    )


def compare_with(
    name: str, predictions: pd.DataFrame, rival: pd.DataFrame, margin: float, promote_config: PromoteConfig
) -> RivalResult:
    confidence, metric = promote_config.confidence, promote_config.metric
    comparison = compare_predictions(
        predictions, rival, metric, margin, confidence, promote_config.bootstrap, promote_config.seed
    )
    required_rows = statistics.required_sample_size(
        comparison, promote_config.min_detectable_gain, confidence, promote_config.power
    )
    worse = comparison.share_below_zero >= confidence and _enough_discordant(comparison, confidence)
    outcome = NOT_BETTER if worse else _outcome(comparison, margin, required_rows, promote_config)
    result = RivalResult(name, outcome, worse, margin, required_rows, comparison, reason="")
    return replace(result, reason=_reason(result, promote_config))


def compare_predictions(
    predictions: pd.DataFrame,
    rival: pd.DataFrame,
    metric: str,
    margin: float,
    confidence: float,
    resamples: int,
    seed: int,
) -> statistics.Comparison:
    """The paired bootstrap of the difference of one metric, a corpus score included."""
    pair = task_metrics.paired_scores(metric, predictions, rival)
    draws = statistics.resamples(len(pair.candidate), resamples, seed)
    return statistics.compare(pair, margin, draws, confidence)


def _outcome(
    comparison: statistics.Comparison, margin: float, required_rows: int, promote_config: PromoteConfig
) -> str:
    """Too few rows are no excuse if the gain, at its best, is below the difference that params ask for."""
    confidence = promote_config.confidence
    if comparison.gain > margin and comparison.confidence >= confidence and _enough_discordant(comparison, confidence):
        return WON
    possible = statistics.upper_gain(comparison, confidence) >= margin + promote_config.min_detectable_gain
    return CANNOT_TELL if comparison.rows < required_rows and possible else NOT_BETTER


def _enough_discordant(comparison: statistics.Comparison, confidence: float) -> bool:
    return comparison.discordant >= statistics.min_discordant_rows(confidence)


def _reason(result: RivalResult, promote_config: PromoteConfig) -> str:
    name, margin, comparison, metric = result.name, result.margin, result.comparison, promote_config.metric
    unit, confidence = task_metrics.scale_of(metric).unit, promote_config.confidence
    gain = f"gain {comparison.gain:+.4f} [{comparison.low:+.4f}, {comparison.high:+.4f}]{unit}"
    required = f"{confidence:.0%} asked"
    if result.significantly_worse:
        below = f"below zero in {comparison.share_below_zero:.1%} of resamples, {required}"
        return f"{metric} is worse than that of the {name}: {gain} on {comparison.rows} rows; {below}"
    if result.outcome == CANNOT_TELL:
        return (
            f"not enough rows to tell whether {metric} beats the {name}: {comparison.rows} rows, about "
            f"{result.required_rows} needed to show a gain of {promote_config.min_detectable_gain:g} above the margin "
            f"of {margin:g} in {promote_config.power:.0%} of cases; {gain}"
        )
    fewest = statistics.min_discordant_rows(confidence)
    enough = _enough_discordant(comparison, confidence)
    few = "" if enough else f"; {comparison.discordant} rows tell the two apart, it takes {fewest}"
    return (
        f"{metric} {'beats' if result.is_beaten else 'does not beat'} the {name}: {gain} on {comparison.rows} rows; "
        f"above the margin of {margin:g} in {comparison.confidence:.1%} of resamples, {required}{few}"
    )
