"""The gate: candidate against base and champion on the same rows, yes or no, and why. A tie keeps the champion.

Against each rival there are three outcomes: won; not better; and cannot tell, where the rows are too few to show the
difference that was asked for, with the number that would do. A candidate that wins everywhere is still held if it
lost more to the champion somewhere than a bound allows (`retune.promotion.guardrails`), or is slower than a bound
allows. Pure: frames in, a decision out.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd

from retune.config.params import Promote, PromoteWriting
from retune.errors import Refused
from retune.evaluation import statistics, task_metrics
from retune.promotion import guardrails
from retune.promotion.guardrails import Guardrail

Section = Promote | PromoteWriting
WON, NOT_BETTER, CANNOT_TELL = "won", "not better", "cannot tell"
TEXT, TOKEN = "text", "token"  # what a time is of


@dataclass(frozen=True)
class RivalResult:
    """One comparison of the candidate, and what came of it."""

    name: str  # base or champion
    outcome: str
    worse: bool  # surely below the rival
    margin: float
    needed: int  # rows to tell the difference that was asked for
    found: statistics.Comparison
    reason: str

    @property
    def won(self) -> bool:
        return self.outcome == WON


@dataclass(frozen=True)
class Latency:
    """Milliseconds a text, or a token written, of both in one sitting (`tasks.latency`)."""

    candidate: float
    champion: float
    ratio: float
    texts: int
    passes: int
    per: str | None = None  # TEXT or TOKEN; None: a text, in records from before there was a choice
    candidate_tokens: int | None = None  # written to all texts; of models that write
    champion_tokens: int | None = None

    @property
    def by_text(self) -> float:
        """The ratio of the times for a whole text."""
        if self.per != TOKEN:
            return self.ratio
        return self.ratio * (self.candidate_tokens or 1) / (self.champion_tokens or 1)


@dataclass(frozen=True)
class Decision:
    promote: bool
    reasons: tuple[str, ...]
    rivals: tuple[RivalResult, ...] = ()
    champion: str | None = None  # NAME/VERSION of the champion that it was compared with
    awaiting: bool = False  # the gate said yes, and a person has to say so too
    bounds: tuple[Guardrail, ...] = ()
    latency: Latency | None = None  # None: not measured, since there is no champion or it is held anyway
    worse: bool = False  # surely worse than the champion: below it, or over a bound of what it says (not of its time)


def evaluate_gate(
    said: pd.DataFrame,
    champion: pd.DataFrame | None,
    section: Section,
    name: str | None = None,
    known: Collection[str] | None = None,
    general: pd.DataFrame | None = None,
) -> Decision:
    """The whole decision but for the time, which `with_latency` adds.

    said: predictions.parquet of the candidate, with the column `source` of its rows; champion: that of the champion
    `name` on the same rows, or None; known: the ids of the champion's own test rows, None if they are not kept;
    general: of a model that writes, what it and its base answered to questions of no concern to the training.
    """
    if said.empty:
        raise Refused("there are no test rows: the candidate cannot be compared")
    base = compare_with("base", said, task_metrics.predictions_of(said, "base_"), section.margin_over_base, section)
    kept, forgot = guardrails.check_general(general, section)
    if champion is None:
        unbroken = not any(bound.broken for bound in kept)
        return Decision(base.won and unbroken, (base.reason, *forgot), (base,), name, bounds=kept)
    same = [name for name in ("id", "label") if name in said and name in champion]
    if said[same].to_numpy().tolist() != champion[same].to_numpy().tolist():
        raise Refused("candidate and champion were scored on different rows: they cannot be compared")
    best = compare_with("champion", said, champion, section.margin_over_champion, section)
    found, told = guardrails.check(said, champion, section, known)
    found, told = (*found, *kept), (*told, *forgot)
    broken = any(bound.broken for bound in found)
    return Decision(
        promote=base.won and best.won and not broken,
        reasons=(base.reason, best.reason, *told),
        rivals=(base, best),
        champion=name,
        bounds=found,
        worse=best.worse or broken,
    )


def with_latency(decision: Decision, latency: Latency, section: Section) -> Decision:
    """The decision once both models were timed. Being slow is no fault of the data: it makes nobody `worse`.

    A model that writes is slow if it is so by the token and by the text: longer answers take longer, and of the time
    for a short one most goes into reading the prompt.
    """
    slow = not min(latency.ratio, latency.by_text) <= section.latency_ratio
    reason = _timed(latency, section.latency_ratio, slow)
    return replace(
        decision, promote=decision.promote and not slow, reasons=(*decision.reasons, reason), latency=latency
    )


def _timed(latency: Latency, bound: float, slow: bool) -> str:
    """An old record, which does not say of what the time is, gets its old words: they are compared to the letter."""
    ours, theirs = f"{latency.candidate:.3g} ms a text", f"the champion {latency.champion:.3g}"
    if latency.per == TOKEN:
        lengths = [(count or 0) / latency.texts for count in (latency.candidate_tokens, latency.champion_tokens)]
        ours = f"{latency.candidate:.3g} ms a token written ({lengths[0]:.3g} tokens a text)"
        theirs += f" ({lengths[1]:.3g})"
    knob = "promote.latency_ratio; " if latency.per else ""
    also = f" ({latency.by_text:.2f} a text)" if latency.per == TOKEN else ""
    return (
        f"{ours}, {theirs}: ratio {latency.ratio:.2f}{also}, {'above' if slow else 'within'} the bound of {bound:g} "
        f"({knob}median of {latency.passes} passes over {latency.texts} texts)"
    )


# ---------------------------------------------------------------- against a rival


def compare_with(name: str, said: pd.DataFrame, theirs: pd.DataFrame, margin: float, section: Section) -> RivalResult:
    found = _compare(said, theirs, section.metric, margin, section.confidence, section.bootstrap, section.seed)
    needed = statistics.required_sample_size(found, section.min_detectable_gain, section.confidence, section.power)
    worse = found.below >= section.confidence and _enough_differ(found, section)
    outcome = NOT_BETTER if worse else _outcome(found, margin, needed, section)
    made = RivalResult(name, outcome, worse, margin, needed, found, reason="")
    return replace(made, reason=_reason(made, section))


def _compare(
    said: pd.DataFrame, theirs: pd.DataFrame, metric: str, margin: float, confidence: float, times: int, seed: int
) -> statistics.Comparison:
    pair = task_metrics.paired_scores(metric, said, theirs)
    draws = statistics.resamples(len(pair.candidate), times, seed)
    return statistics.compare(
        pair.score, pair.truth, pair.candidate, pair.rival, pair.differs, margin, draws, confidence
    )


def _outcome(found: statistics.Comparison, margin: float, needed: int, section: Section) -> str:
    """Too few rows excuse nobody whose gain, at its best, is below the difference asked."""
    if found.gain > margin and found.confidence >= section.confidence and _enough_differ(found, section):
        return WON
    open_yet = statistics.upper_gain(found, section.confidence) >= margin + section.min_detectable_gain
    return CANNOT_TELL if found.rows < needed and open_yet else NOT_BETTER


def _enough_differ(found: statistics.Comparison, section: Section) -> bool:
    return found.differing >= statistics.min_discordant_rows(section.confidence)


def _reason(rival: RivalResult, section: Section) -> str:
    name, margin, found = rival.name, rival.margin, rival.found
    unit = task_metrics.scale_of(section.metric).unit
    gain = f"gain {found.gain:+.4f} [{found.low:+.4f}, {found.high:+.4f}]{unit}"
    asked = f"{section.confidence:.0%} asked"
    if rival.worse:
        below = f"below zero in {found.below:.1%} of resamples, {asked}"
        return f"{section.metric} is worse than that of the {name}: {gain} on {found.rows} rows; {below}"
    if rival.outcome == CANNOT_TELL:
        return (
            f"not enough rows to tell whether {section.metric} beats the {name}: {found.rows} rows, about "
            f"{rival.needed} needed to show a gain of {section.min_detectable_gain:g} above the margin of "
            f"{margin:g} in {section.power:.0%} of cases; {gain}"
        )
    fewest = statistics.min_discordant_rows(section.confidence)
    few = "" if _enough_differ(found, section) else f"; {found.differing} rows tell the two apart, it takes {fewest}"
    return (
        f"{section.metric} {'beats' if rival.won else 'does not beat'} the {name}: {gain} on {found.rows} rows; "
        f"above the margin of {margin:g} in {found.confidence:.1%} of resamples, {asked}{few}"
    )


# ---------------------------------------------------------------- in and out


def with_source(said: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """predictions.parquet with the source of each row beside it, from the test side that it was made on."""
    return said.assign(source=said["id"].map(rows.set_index("id")["source"]).fillna("").astype(str))


def general_of(details: dict[str, Any]) -> pd.DataFrame | None:
    """From details.json: set, right and base_right of each question; None if none was asked."""
    told = details.get("general")
    return pd.DataFrame(told) if told and told["set"] else None


def latency_of(told: dict[str, Any]) -> Latency:
    """From what `tasks.latency` wrote, or a record."""
    return Latency(**told)


def figures(decision: Decision) -> dict[str, float]:
    """The numbers that a run shows."""
    told = {f"gain_over_{rival.name}": rival.found.gain for rival in decision.rivals}
    return told | ({"latency_ratio": decision.latency.ratio} if decision.latency else {})


def as_record(decision: Decision, section: Section, champion_test: str | None) -> dict[str, Any]:
    """The gate's part of a record, in the shape of record.schema.json."""
    return {
        "decision": "champion" if decision.promote else "held",
        "worse": decision.worse,
        "metric": section.metric,
        "confidence": section.confidence,
        "champion": decision.champion,
        "champion_test": champion_test,
        "rivals": [
            {
                "name": rival.name,
                "won": rival.won,
                "outcome": rival.outcome,
                "worse": rival.worse,
                "margin": rival.margin,
                "gain": rival.found.gain,
                "low": rival.found.low,
                "high": rival.found.high,
                "rows": rival.found.rows,
                "needed": rival.needed,
                "differing": rival.found.differing,
                "confidence": rival.found.confidence,
                "reason": rival.reason,
            }
            for rival in decision.rivals
        ],
        "bounds": [asdict(bound) for bound in decision.bounds],
        "latency": _said_of(decision.latency) if decision.latency else None,
        "reasons": list(decision.reasons),
    }


def _said_of(latency: Latency) -> dict[str, Any]:
    return {name: value for name, value in asdict(latency).items() if value is not None}


def as_schema_1(said: pd.DataFrame, champion: pd.DataFrame | None, section: dict[str, Any]) -> dict[str, Any]:
    """What the gate decided in records of schema 1: no bounds, and two outcomes. For those who check old versions."""
    others = {"base": task_metrics.predictions_of(said, "base_")} | ({} if champion is None else {"champion": champion})
    metric, asked, told, all_won = section["metric"], section["confidence"], [], True
    for name, theirs in others.items():
        margin = section[f"margin_over_{name}"]
        found = _compare(said, theirs, metric, margin, asked, section["bootstrap"], section["seed"])
        won = found.gain > margin and found.confidence >= asked
        all_won = all_won and won
        gain = f"gain {found.gain:+.4f} [{found.low:+.4f}, {found.high:+.4f}] on {found.rows} rows"
        above = f"above the margin of {margin:g} in {found.confidence:.1%} of resamples, {asked:.0%} asked"
        told.append({"reason": f"{metric} {'beats' if won else 'does not beat'} the {name}: {gain}; {above}"})
    return {"decision": "champion" if all_won else "held", "rivals": told}
