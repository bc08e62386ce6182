"""What is served, on one sheet: traffic, latency, errors, automation, quality and drift, and whether to be alarmed.

    retune monitor classifier --days 7

An alarm is drift (the same test sees a shift in two windows in a row), or a sure loss of measured accuracy. A reason to
train again is that loss, or drift together with a sure fall of the confidence, which estimates accuracy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from retune.config.serving import Monitor
from retune.monitoring import battery, quality
from retune.monitoring.battery import Finding
from retune.monitoring.quality import Fall, Share
from retune.serving import feedback, rollouts, served_rows
from retune.serving.database import Engine
from retune.system.stage_io import heartbeat
from tasks.monitor.windows import HOUR, VersionFacts, Window, main_language, sample, version_facts, windows

DAY = 24 * HOUR
MOST_LATENCIES = 100_000  # evenly spaced
NO_TRAFFIC, FILLING = "no traffic", "the reference is not full"


@dataclass(frozen=True)
class Traffic:
    """What an arm of a version answered. Latencies in milliseconds, from the request to its answer; None without."""

    version: str
    arm: str
    answers: int
    errors: int
    automatic: int  # that nobody read
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True)
class WindowReport:
    start: str
    end: str
    texts: int  # that were compared
    automatic: float | None  # share
    findings: tuple[Finding, ...]
    estimate: Share  # of accuracy, by the mean confidence
    by_threshold: Share  # of accuracy, by the threshold of ATC; nothing without test rows


@dataclass(frozen=True)
class MonitorReport:
    name: str
    version: str | None  # that is watched: the one that answered people last
    start: str  # of the traffic that is counted
    end: str
    traffic: tuple[Traffic, ...]
    cost: float | None  # of what was answered, in the currency; None: monitor.cost_per_1000 is 0
    verdict: str
    words: str  # the verdict for people
    reference: tuple[str, str, int] | None  # from, to, texts
    windows: tuple[WindowReport, ...]
    estimated: Fall | None  # of the last window's confidence against that of the reference
    measured: Fall | None  # of what reviewers found, since the reference
    alarms: tuple[str, ...] = ()  # sentences
    retrain: str | None = None  # why to train again
    test_accuracy: Share = field(default=Share(0))
    rollout: str | None = None  # the last one, in a sentence


def report(engine: Engine | None, name: str, config: Monitor, days: float, now: float) -> MonitorReport:
    """days: of traffic that is counted; now: seconds since 1970."""
    start = now - days * DAY
    version = served_rows.last_version(engine, name) if engine else None
    if not engine or not version:
        words = f"nobody has asked {name} anything yet: `retune serve` answers, and each answer is logged"
        return MonitorReport(name, None, _iso(start), _iso(now), (), None, NO_TRAFFIC, words, None, (), None, None)
    traffic = _traffic(engine, name, start, now)
    cost = sum(each.answers for each in traffic) / 1000 * config.cost_per_1000 if config.cost_per_1000 else None
    with heartbeat(f"comparing what {name}/{version} answered"):
        facts = version_facts(name, version)
        reference, later = windows(engine, name, version, config, now)
        reports = _compare(reference, later, facts, config.false_alarms)
    verdict, tests = battery.verdict([each.findings for each in reports])
    estimated = quality.fall_of_mean(_confidence(reference), _confidence(later[-1])) if later else None
    measured = _measured(engine, name, version, reference, facts)
    alarms = _alarms(name, version, verdict, tests, reports, measured)
    return MonitorReport(
        name,
        version,
        _iso(start),
        _iso(now),
        traffic,
        cost,
        verdict if reports else FILLING,
        _in_words(verdict, tests, reports, reference, config),
        (_iso(reference.start), _iso(reference.end), len(reference.rows)),
        reports,
        estimated,
        measured,
        alarms,
        _why_retrain(name, version, verdict, tests, estimated, measured),
        quality.measured(facts.right),
        _rollout(engine, name),
    )


def _rollout(engine: Engine, name: str) -> str | None:
    last = rollouts.latest(engine, name)
    if last is None:
        return None
    place = f" at {rollouts.in_words(last.step)}" if last.is_open else ""
    return (
        f"rollout of {last.version} beside {last.rival}: {last.state}{place}, since {_iso(last.changed)}: {last.reason}"
    )


def _traffic(engine: Engine, name: str, start: float, end: float) -> tuple[Traffic, ...]:
    latencies = served_rows.window(engine, name, start, end, ["version", "arm", "latency_ms"], MOST_LATENCIES)
    groups: dict[Any, pd.Series] = dict(list(latencies.groupby(["version", "arm"])["latency_ms"]))
    arms = []
    for each in served_rows.counts_by_arm(engine, name, start, end):
        values = groups.get((each["version"], each["arm"]), pd.Series(dtype=float)).dropna().to_numpy(dtype=float)
        quantiles = [float(value) for value in np.quantile(values, [0.5, 0.95, 0.99])] if len(values) else [None] * 3
        arms.append(Traffic(**each, p50=quantiles[0], p95=quantiles[1], p99=quantiles[2]))
    return tuple(arms)


def _compare(reference: Window, later: Sequence[Window], facts: VersionFacts, level: float) -> tuple[WindowReport, ...]:
    if not later:
        return ()
    language = main_language(reference)
    before = sample(reference, facts, language)
    has_test_rows = len(facts.right) >= quality.LEAST
    threshold = quality.atc_threshold(facts.confidence, facts.right) if has_test_rows else None
    reports = []
    for window in later:
        confidence, rows = _confidence(window), window.rows
        by_threshold = Share(len(rows))
        if threshold is not None:
            by_threshold = quality.estimated_by_threshold(confidence, threshold)
        reports.append(
            WindowReport(
                _iso(window.start),
                _iso(window.end),
                len(rows),
                float((rows["route"] == "auto").mean()) if len(rows) else None,
                tuple(battery.compare(before, sample(window, facts, language), level)),
                quality.estimated(confidence),
                by_threshold,
            )
        )
    return tuple(reports)


def _confidence(window: Window) -> np.ndarray:
    return window.rows["confidence"].dropna().to_numpy(dtype=float)


def _measured(engine: Engine, name: str, version: str, reference: Window, facts: VersionFacts) -> Fall:
    """What reviewers found since the reference, against what they found in it; where that is too few, the test rows."""
    reviews = [each for each in feedback.reviews(engine, name) if each.asked >= reference.start]
    mine = served_rows.answered_by(engine, version, {each.request_id for each in reviews})
    reviews = [each for each in reviews if each.request_id in mine]
    before = [each for each in reviews if each.asked < reference.end]
    now = [each for each in reviews if each.asked >= reference.end]
    has_enough = quality.reviewed(before).value is not None
    first = partial(quality.reviewed, before) if has_enough else partial(quality.measured, facts.right)
    return quality.fall(first, partial(quality.reviewed, now))


def _alarms(
    name: str, version: str, verdict: str, tests: Sequence[str], reports: Sequence[WindowReport], measured: Fall
) -> tuple[str, ...]:
    alarms = []
    if verdict == battery.DRIFT:
        changes = [_describe(finding) for finding in reports[-1].findings if finding.test.name in tests]
        alarms.append(f"what is asked of {name}/{version} has changed, two windows in a row: {'; '.join(changes)}")
    if measured.is_sure:
        alarms.append(f"{name}/{version} has lost accuracy: {_describe_fall(measured)}")
    return tuple(alarms)


def _describe(finding: Finding) -> str:
    test = finding.test
    return f"{test.name} ({test.before} → {test.now}, {test.effect_name} {test.effect:.3f}, p {test.p:.2g})"


def _describe_fall(fall: Fall) -> str:
    return f"{fall.before.value:.1%} of {fall.before.n} → {fall.now.value:.1%} of {fall.now.n}, by what reviewers found"


def _why_retrain(
    name: str, version: str, verdict: str, tests: Sequence[str], estimated: Fall | None, measured: Fall
) -> str | None:
    if measured.is_sure:
        return f"{name}/{version} has lost accuracy in production: {_describe_fall(measured)}"
    if verdict == battery.DRIFT and estimated and estimated.is_sure:
        return (
            f"what is asked of {name}/{version} has changed ({', '.join(tests)}), and its confidence fell from "
            f"{estimated.before.value:.3f} to {estimated.now.value:.3f}"
        )
    return None


def _in_words(
    verdict: str, tests: Sequence[str], reports: Sequence[WindowReport], reference: Window, config: Monitor
) -> str:
    if not reports:
        return (
            f"insufficient data: the reference holds {len(reference.rows)} texts since {_iso(reference.start)}; "
            f"windows are compared once monitor.reference_hours ({config.reference_hours:g}) and a window "
            f"({config.window_hours:g}) are over"
        )
    untested = [each.test.name for each in reports[-1].findings if each.verdict == "insufficient data"]
    rest = f"; insufficient data for {', '.join(untested)}" if untested and verdict != battery.INSUFFICIENT else ""
    named = f" in {', '.join(tests)}" if tests else ""
    return f"{verdict}{named}, {len(reports)} windows compared{rest}"


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
