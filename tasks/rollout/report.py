"""What there is to say of a rollout: where it is, why, and both versions beside each other, whole and by segment.

Every interval is a confidence sequence: it holds at all looks together, so one may stop at any time.
"""

import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Engine, or_, select

from retune.config import rollout as config
from retune.evaluation.statistics import Interval
from retune.promotion import anytime_means
from retune.serving.outcomes import OUTCOMES
from retune.serving.request_log import ANSWERS
from retune.serving.rollouts import Rollout, in_words
from retune.serving.router import CHALLENGER, CHAMPION
from tasks.rollout import decision, evidence
from tasks.rollout.evidence import Pair, values_of

LENGTHS = (0, 100, 400, math.inf)  # characters: borders of the segments by length
LABELS = 10  # segments by label: the most frequent ones
COLUMNS = ("arm", "version", "time", "label", "length", "error", "route", "latency_ms", "request_id")


def describe(engine: Engine, rollout: Rollout, settings: config.Rollout, now: float | None = None) -> dict[str, Any]:
    """For `--json` and the page. Times are ISO 8601, intervals [value, low, high]."""
    moment = time.time() if now is None else now
    proof = evidence.read(engine, rollout, moment)
    verdict = decision.decide(rollout, proof, settings, moment)
    rows = _rows(engine, rollout)
    return {
        "name": rollout.model,
        "rollout": rollout.id,
        "version": rollout.version,
        "champion": rollout.rival,
        "state": rollout.state,
        "step": in_words(rollout.step),
        "steps": [in_words(step) for step in rollout.steps],
        "began": iso(rollout.times[0]),
        "since": iso(rollout.times[-1]),
        "metric": rollout.metric,
        "by": rollout.person,
        "reason": rollout.reason,
        "next": verdict.reason if rollout.is_open else None,
        "last_request": None if proof.last is None else iso(proof.last),
        "needed": verdict.needed,
        "tests": verdict.as_facts(),
        "arms": [_arm(arm, part, settings.confidence) for arm, part in rows.groupby("arm", sort=True)],
        "outcomes": list(_outcomes(engine, rollout, rows, settings.confidence)),
    }


def iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


def _rows(engine: Engine, rollout: Rollout) -> pd.DataFrame:
    """A row for each request: of both arms in each step, and of the shadow."""
    steps = or_(*(evidence.of_step(rollout, place) for place in range(len(rollout.times))))
    question = select(*(ANSWERS.c[name] for name in COLUMNS)).where(steps, ANSWERS.c.position == 0)
    with engine.connect() as connection:
        rows = pd.DataFrame(connection.execute(question).all(), columns=list(COLUMNS))
    rows["step"] = np.searchsorted(np.array(rollout.times), rows["time"].to_numpy(dtype=float), side="right")
    return rows


def _arm(arm: Any, part: pd.DataFrame, confidence: float) -> dict[str, Any]:
    answers = part[part["error"] == ""]
    latencies = answers.loc[answers["latency_ms"] > 0, "latency_ms"].astype(float)
    middle = anytime_means.mean_interval(values_of(np.log(latencies).tolist()), confidence)
    automatic = int((answers["route"] == "auto").sum())
    return {
        "arm": arm,
        "version": part["version"].iloc[0],
        "requests": len(part),
        "errors": len(part) - len(answers),
        "error_share": _as_list(anytime_means.share_interval(len(part) - len(answers), len(part), confidence)),
        "automatic_share": _as_list(anytime_means.share_interval(automatic, len(answers), confidence)),
        "latency_ms": middle and [math.exp(each) for each in (middle.value, middle.low, middle.high)],
    }


def _outcomes(engine: Engine, rollout: Rollout, rows: pd.DataFrame, confidence: float) -> Iterator[dict[str, Any]]:
    """Each outcome in each segment: the mean of both arms and their difference."""
    question = select(OUTCOMES.c.request_id, OUTCOMES.c.name, OUTCOMES.c.value).where(
        OUTCOMES.c.time >= rollout.times[0]
    )
    with engine.connect() as connection:
        numbers = pd.DataFrame(connection.execute(question).all(), columns=["request_id", "name", "value"])
    both = rows[rows["arm"].isin((CHALLENGER, CHAMPION))].merge(numbers, on="request_id")
    for name, of_name in both.groupby("name", sort=True):
        for segment, part in _segments(of_name):
            strata = [_pair(step) for _, step in part.groupby("step")]
            yield {
                "name": name,
                "segment": segment,
                CHALLENGER: _mean(part, CHALLENGER, confidence),
                CHAMPION: _mean(part, CHAMPION, confidence),
                "difference": _as_list(anytime_means.difference_interval(anytime_means.difference(strata), confidence)),
            }


def _pair(step: pd.DataFrame) -> Pair:
    return evidence.by_arm(list(zip(step["arm"], step["value"].astype(float), strict=True)))


def _segments(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    yield "all", rows
    for label in rows.loc[rows["label"] != "", "label"].value_counts().index[:LABELS]:
        yield f"label {label}", rows[rows["label"] == label]
    for low, high in pairwise(LENGTHS):
        part = rows[(rows["length"] > low) & (rows["length"] <= high)]
        if len(part):
            yield f"up to {high:.0f} characters" if math.isfinite(high) else f"over {low} characters", part


def _mean(rows: pd.DataFrame, arm: str, confidence: float) -> dict[str, Any]:
    """Without an interval where there are too few values."""
    values = values_of(rows.loc[rows["arm"] == arm, "value"].tolist())
    interval = anytime_means.mean_interval(values, confidence)
    return {"count": values.count, "mean": _as_list(interval) or [values.mean, None, None]}


def _as_list(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.value, interval.low, interval.high]
