"""How much worse than the champion a candidate may be on rows with typing errors and the like: a bound for each kind.

Both were asked the same changed rows, and their scores stand in their predictions (`retune.evaluation.robustness`).
Predictions of an earlier release have none, so nothing is said of them. The measured losses are always part of the
record; reasons are given only where `promote.max_robustness_loss` sets a bound.

The reasons are part of a record, and `retune verify` compares them to the letter: a changed word makes the gate of each
older version fail its check.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from retune.config.classification import Promote
from retune.config.generation import GenerationPromote
from retune.evaluation import robustness, statistics
from retune.promotion.guardrails import Guardrail, Results

KIND, NO_BOUND = "robustness", 1.0


def check(predictions: pd.DataFrame, champion: pd.DataFrame, promote_config: Promote | GenerationPromote) -> Results:
    """predictions, champion: predictions of the same rows."""
    guardrails = tuple(_guardrails(predictions, champion, promote_config))
    return guardrails, tuple(_reasons(guardrails, promote_config))


def _guardrails(
    predictions: pd.DataFrame, champion: pd.DataFrame, promote_config: Promote | GenerationPromote
) -> Iterator[Guardrail]:
    limit, confidence = promote_config.max_robustness_loss, promote_config.confidence
    for kind in robustness.kinds_of(predictions):
        name = robustness.column(kind)
        if name not in champion:
            continue
        scores, champion_scores = (table[name].to_numpy(dtype=float) for table in (predictions, champion))
        both = ~(np.isnan(scores) | np.isnan(champion_scores))
        if not both.any():
            continue
        scores, champion_scores = scores[both], champion_scores[both]
        pair = statistics.Pair(
            statistics.mean, np.ones(len(scores)), scores, champion_scores, scores != champion_scores
        )
        draws = statistics.resamples(len(scores), promote_config.bootstrap, promote_config.seed)
        comparison = statistics.compare(pair, -limit, draws, confidence)
        loss, certainty = -comparison.gain, 1 - comparison.confidence
        enough = comparison.discordant >= statistics.min_discordant_rows(confidence)
        violated = limit < NO_BOUND and loss > limit and certainty >= confidence and enough
        yield Guardrail(KIND, kind, comparison.rows, loss, limit, certainty, violated)


def _reasons(guardrails: tuple[Guardrail, ...], promote_config: Promote | GenerationPromote) -> Iterator[str]:
    if promote_config.max_robustness_loss >= NO_BOUND or not guardrails:
        return
    violated = [guardrail for guardrail in guardrails if guardrail.violated]
    for guardrail in violated:
        yield f"{guardrail} that were changed, against the champion; the bound is {-guardrail.limit:g}"
    if not violated:
        yield "on changed rows it is not surely worse than the champion beyond the bound"
