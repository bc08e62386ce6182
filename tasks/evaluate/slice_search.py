"""The slices on which the model is surely worse than on the rest, in details.json under `slice_search`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from retune.config.common import EvaluateCommon
from retune.evaluation import row_sample, slice_search, statistics
from retune.evaluation.measures import Measure, Section
from retune.evaluation.slice_search import Judgement

NAME = "slice_search"
SHARES_OF_ROWS = ("accuracy", "preferred")  # scores that are 1 - loss; others are losses themselves


def section(
    rows: pd.DataFrame, texts: Sequence[str], losses: np.ndarray, score: str, evaluate_config: EvaluateCommon
) -> Section:
    """rows: test rows; texts: their words; losses: [rows], more is worse; score: what the losses are of."""
    config, seed = evaluate_config.slice_search, evaluate_config.seed
    sample = row_sample.drawn(rows["id"], config.rows, seed).to_numpy()
    losses, drawn_texts = losses[sample], [text for text, is_drawn in zip(texts, sample, strict=True) if is_drawn]
    parts = slice_search.slices_of(slice_search.columns_of(rows[sample], drawn_texts), config.min_rows)
    level = round(1 - evaluate_config.confidence, 12)
    search = slice_search.search(losses, parts, config.permutations, level, seed)
    listed = search.judgements[: evaluate_config.examples]
    entries = [_entry(each, losses, score, evaluate_config) for each in listed if each.deviation > 0]
    surely = sum(each.p <= level for each in search.judgements)
    measures = {}
    if entries:
        worst = entries[0]
        title = f"{score} of the worst slice"
        measures["worst_slice"] = Measure(title, worst["score"], worst["low"], worst["high"], worst["rows"])
    details = {
        "score": score,
        "rows": len(losses),
        "searched": len(parts),
        "level": level,
        "surely_worse": surely,
        "detectable": search.detectable,
        "detectable_rows": search.size,
        "slices": entries,
    }
    return Section(NAME, details, measures, {"surely_worse_slices": surely})


def _entry(judgement: Judgement, losses: np.ndarray, score: str, evaluate_config: EvaluateCommon) -> dict[str, Any]:
    values = 1 - losses if score in SHARES_OF_ROWS else losses
    part = values[judgement.slice.rows]
    draws = statistics.resamples(len(part), evaluate_config.bootstrap, evaluate_config.seed)
    spread = statistics.interval(lambda places: float(part[places].mean()), draws, evaluate_config.confidence)
    return {
        "conditions": [{"column": each.column, "value": each.value} for each in judgement.slice.conditions],
        "rows": len(part),
        "score": spread.value,
        "low": spread.low,
        "high": spread.high,
        "rest": float(values[~judgement.slice.rows].mean()),
        "p": judgement.p,
    }
