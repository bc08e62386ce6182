"""Whether a rollout takes its next step, waits or is rolled back. Pure: evidence in, a decision out.

A challenger that is surely worse is rolled back, unless it is surely within the margin that params allow: of enough
requests any difference is sure. Errors are always looked at, and the metric of the rollout beside them; both share the
probability of a false alarm.
"""

import math
from dataclasses import dataclass
from typing import Any

from retune.config import rollout as config
from retune.evaluation.statistics import Interval
from retune.promotion import anytime, anytime_means
from retune.promotion.anytime import Block
from retune.serving.rollouts import PAUSED, Rollout, in_words
from tasks.rollout.evidence import Evidence, Pair

WAIT, ADVANCE, COMPLETE, ROLL_BACK = "wait", "advance", "complete", "roll back"
EVERYBODY = 100  # per cent: at this step nobody is left to compare with


@dataclass(frozen=True)
class Comparison:
    """One comparison of the two versions."""

    name: str
    figures: str  # what was counted, in words
    worse: float  # e-value against "the challenger is no worse"
    no_worse: float  # e-value against "it is worse by the margin or more"
    is_negligible: bool  # surely so rare that no ratio matters
    interval: Interval | None  # odds ratio, ratio or difference, challenger to champion
    unit: str  # of the interval


@dataclass(frozen=True)
class Decision:
    move: str
    reason: str
    tests: tuple[Comparison, ...]
    needed: float  # e-value that decides

    def as_facts(self) -> dict[str, Any]:
        """For the history and `--json`."""
        return {
            test.name: {
                "figures": test.figures,
                "worse": _short(test.worse),
                "no_worse": _short(test.no_worse),
                "negligible": test.is_negligible,
                "needed": _short(self.needed),
                "interval": _interval(test.interval),
                "unit": test.unit,
            }
            for test in self.tests
        }


def decide(rollout: Rollout, evidence: Evidence, settings: config.Rollout, now: float) -> Decision:
    """now: seconds since 1970."""
    comparisons = tests_of(rollout, evidence, settings)
    needed = len(comparisons) / (1 - settings.confidence)
    move, reason = _move(rollout, evidence, settings, now, comparisons, needed)
    return Decision(move, reason, comparisons, needed)


def _move(
    rollout: Rollout,
    evidence: Evidence,
    settings: config.Rollout,
    now: float,
    comparisons: tuple[Comparison, ...],
    needed: float,
) -> tuple[str, str]:
    for test in comparisons:
        if test.worse >= needed > test.no_worse:
            return ROLL_BACK, f"{rollout.version} is worse than {rollout.rival}, {_in_words(test)}"
    if rollout.state == PAUSED:
        return WAIT, f"paused: {rollout.reason}"
    if silence := _silence(rollout, evidence, now):
        return WAIT, silence
    minutes = (now - rollout.times[-1]) / 60
    if evidence.in_step < settings.min_requests:
        return WAIT, f"{evidence.in_step} of {settings.min_requests} answers of {rollout.version} at this step"
    if minutes < settings.min_minutes:
        return WAIT, f"{minutes:.0f} of {settings.min_minutes:g} minutes at this step"
    following = rollout.following
    proof = comparisons[-1]  # of the metric
    if rollout.step != EVERYBODY and following in (None, EVERYBODY):
        if proof.no_worse < needed and not proof.is_negligible:
            return WAIT, f"no proof yet that {rollout.version} is not worse by the margin: {_in_words(proof)}"
        reason = f"{rollout.version} is not worse than {rollout.rival} by the margin, {_in_words(proof)}"
    else:
        reason = f"nothing says that {rollout.version} is worse than {rollout.rival}, {_in_words(proof)}"
    return (COMPLETE, reason) if following is None else (ADVANCE, f"to {in_words(following)}: {reason}")


def _silence(rollout: Rollout, evidence: Evidence, now: float) -> str:
    """In words, that there is no traffic to judge by; empty if there is."""
    if evidence.last is None:
        return f"no traffic since the rollout began, {_ago(now - rollout.times[0])} ago"
    if now - evidence.last > max(60.0, (now - rollout.times[-1]) / 2):
        return f"no traffic since {_ago(now - evidence.last)} ago"
    if not evidence.in_step and now - rollout.times[-1] > 60:
        return f"{rollout.version} has given no answer at this step: does each server have it loaded?"
    return ""


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def tests_of(rollout: Rollout, evidence: Evidence, settings: config.Rollout) -> tuple[Comparison, ...]:
    """Errors, and then the metric of the rollout, if that is another."""
    alpha = 1 - settings.confidence
    errors = _of_blocks("error", "failed", evidence.errors, settings, alpha)
    if rollout.metric == "corrected":
        return errors, _of_corrections(evidence, settings, alpha)
    if rollout.metric == "rating":
        return errors, _of_values("rating", evidence.ratings, -settings.max_rating_loss, False, alpha)
    if rollout.metric == "latency":
        return errors, _of_values("latency", evidence.latencies, math.log(settings.max_latency_ratio), True, alpha)
    return (errors,)


def _of_blocks(
    name: str, verb: str, blocks: tuple[Block, ...], settings: config.Rollout, alpha: float, pairs: bool = False
) -> Comparison:
    shape = anytime.PAIRED if pairs else anytime.SHAPE
    candidate, wrong = sum(each.candidate for each in blocks), sum(each.candidate_errors for each in blocks)
    champion, others = sum(each.champion for each in blocks), sum(each.champion_errors for each in blocks)
    share = anytime_means.share_interval(wrong, candidate, 1 - alpha)
    return Comparison(
        name,
        f"{wrong} of {candidate} {verb}, of the champion's {others} of {champion}",
        anytime.evidence_worse(blocks, 1.0, shape),
        anytime.evidence_no_worse(blocks, settings.max_error_ratio, shape),
        not pairs and share.high < settings.negligible_error_rate,
        anytime.odds_interval(blocks, settings.confidence),
        "odds ratio",
    )


def _of_corrections(evidence: Evidence, settings: config.Rollout, alpha: float) -> Comparison:
    """By labels of requests that both answered, where there are any: they need a quarter as many."""
    if any(evidence.pairs):
        alone = tuple(anytime.paired(*evidence.pairs))
        return _of_blocks("corrected", "were wrong alone", alone, settings, alpha, pairs=True)
    return _of_blocks("corrected", "were corrected", evidence.corrections, settings, alpha)


def _of_values(name: str, strata: tuple[Pair, ...], margin: float, is_log: bool, alpha: float) -> Comparison:
    """More is worse of logarithms of latencies, and better of ratings."""
    gap = anytime_means.difference(strata)
    interval = anytime_means.difference_interval(gap, 1 - alpha)
    counts = [sum(pair[side].count for pair in strata) for side in (0, 1)]
    if is_log:
        worse, no_worse = anytime_means.evidence_above(gap, 0.0), anytime_means.evidence_below(gap, margin)
        interval = interval and Interval(*(math.exp(each) for each in (interval.value, interval.low, interval.high)))
    else:
        worse, no_worse = anytime_means.evidence_below(gap, 0.0), anytime_means.evidence_above(gap, margin)
    figures = f"{counts[0]} values, of the champion {counts[1]}"
    return Comparison(name, figures, worse, no_worse, False, interval, "ratio" if is_log else "difference")


def _in_words(test: Comparison) -> str:
    if not test.interval:
        return f"{test.name}: {test.figures}, too few for an interval"
    high = "" if math.isinf(test.interval.high) else f"{test.interval.high:.3g}"
    between = f"{test.interval.low:.3g} to {high}" if high else f"above {test.interval.low:.3g}"
    return f"{test.name}: {test.figures} ({test.unit} {test.interval.value:.3g}, {between})"


def _interval(interval: Interval | None) -> list[float | None] | None:
    if interval is None:
        return None
    return [None if math.isinf(each) else _short(each) for each in (interval.value, interval.low, interval.high)]


def _short(number: float) -> float:
    return float(f"{number:.4g}")
