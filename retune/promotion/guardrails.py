"""How much a candidate may lose to the champion on parts of the rows that a single score does not show.

    label         the rows of one label: its recall
    slice         the rows of one source, or of one value of a column that ingest kept; the rows that the champion was
                  tested on, and the new ones
    calibration   the calibration error
    general       of a generative model: right answers that its own base gave, in sets that training never saw

A generative model has no labels, and on a slice it is compared by the metric of the gate.

Labels and slices are counted by the share of their rows that is right. For a label that is its recall, in which each
of its rows counts once. A loss of precision is another label's loss of recall, so no mistake goes unseen; F1 moves
with the rows of other labels too, so that on few rows nothing is certain about its change.

A part counts as worse only if the paired bootstrap says so with the confidence of params, and enough of its rows are
discordant for an exact test to agree; else the smallest labels would hold every candidate by chance. Nothing is
corrected for the number of labels: a candidate that is held without need waits a week, one that lost a label is served.

The champion's own test rows are a slice of their own: the new rows may be wrong in the very way that the candidate
has learned, so being better on those alone proves nothing.

The reasons are part of a record, and `retune verify` compares them to the letter: a changed word makes the gate of each
older version fail its check.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from retune.config.classification import Promote
from retune.config.generation import GenerationPromote
from retune.data import slices
from retune.evaluation import statistics, task_metrics

PromoteConfig = Promote | GenerationPromote
NAMED = 3  # violated labels and slices that the reasons name; the record holds all


@dataclass(frozen=True)
class Guardrail:
    kind: str  # label, slice, calibration, general, or that of a guardrail of the candidate alone
    name: str
    rows: int
    loss: float  # above zero: worse than the champion
    limit: float
    confidence: float  # share of resamples in which the loss is larger than the limit
    violated: bool

    def __str__(self) -> str:
        return f"{self.kind} {self.name} {-self.loss:+.4f} on {self.rows} rows"


Results = tuple[tuple[Guardrail, ...], tuple[str, ...]]
"""The guardrails, and the reasons that a record gives of them."""


def check(
    predictions: pd.DataFrame,
    champion: pd.DataFrame,
    promote_config: PromoteConfig,
    champion_test_ids: Collection[str] | None,
) -> Results:
    """Every guardrail against the champion.

    predictions, champion: predictions of the same rows, the first with their `source`; champion_test_ids: of the rows
    that the champion was tested on, None if they are lost.
    """
    reasons = tuple(_champion_test_reasons(predictions, promote_config, champion_test_ids))
    if isinstance(promote_config, GenerationPromote):
        slices = tuple(_answer_slices(predictions, champion, promote_config, champion_test_ids))
        return slices, (*reasons, *_part_reasons(slices, promote_config))
    parts = tuple(_labels_and_slices(predictions, champion, promote_config, champion_test_ids))
    calibration = tuple(_calibration(predictions, champion, promote_config))
    part_reasons = _part_reasons(parts, promote_config)
    return (*parts, *calibration), (*reasons, *part_reasons, *_calibration_reasons(predictions, champion, calibration))


def check_retention(questions: pd.DataFrame | None, promote_config: PromoteConfig) -> Results:
    """Whether training has cost what the base knew. questions: set, right, base_right of each; None if there are none.

    Each set may lose `max_retention_loss` of its right answers.
    """
    if questions is None or not isinstance(promote_config, GenerationPromote):
        return (), ()
    guardrails = tuple(_retention(questions, promote_config))
    return guardrails, tuple(_retention_reason(guardrail, promote_config) for guardrail in guardrails)


def _is_right(predictions: pd.DataFrame) -> np.ndarray:
    return (predictions["predicted"] == predictions["label"]).to_numpy()


def _labels_and_slices(
    predictions: pd.DataFrame,
    champion: pd.DataFrame,
    promote_config: Promote,
    champion_test_ids: Collection[str] | None,
) -> Iterator[Guardrail]:
    right, champion_right = _is_right(predictions), _is_right(champion)
    labels = (("label", name, rows) for name, rows in _groups(predictions["label"]))
    for kind, name, rows in (*labels, *_slices(predictions, promote_config, champion_test_ids)):
        limit = promote_config.max_label_recall_loss if kind == "label" else promote_config.max_slice_loss
        yield _share_guardrail(kind, name, right[rows], champion_right[rows], limit, promote_config)


def _answer_slices(
    predictions: pd.DataFrame,
    champion: pd.DataFrame,
    promote_config: GenerationPromote,
    champion_test_ids: Collection[str] | None,
) -> Iterator[Guardrail]:
    confidence, limit = promote_config.confidence, promote_config.max_slice_loss
    for kind, name, rows in _slices(predictions, promote_config, champion_test_ids):
        pair = task_metrics.paired_scores(promote_config.metric, predictions[rows], champion[rows])
        if not len(pair.candidate):  # there is no answer to any of these rows
            continue
        draws = statistics.resamples(len(pair.candidate), promote_config.bootstrap, promote_config.seed)
        comparison = statistics.compare(pair, -limit, draws, confidence)
        loss, certainty = -comparison.gain, 1 - comparison.confidence
        enough = comparison.discordant >= statistics.min_discordant_rows(confidence)
        violated = loss > limit and certainty >= confidence and enough
        yield Guardrail(kind, name, comparison.rows, loss, limit, certainty, violated)


def _retention(questions: pd.DataFrame, promote_config: GenerationPromote) -> Iterator[Guardrail]:
    for name, rows in _groups(questions["set"]):
        right, base_right = (questions.loc[rows, column].to_numpy(dtype=bool) for column in ("right", "base_right"))
        yield _share_guardrail("general", name, right, base_right, promote_config.max_retention_loss, promote_config)


def _retention_reason(guardrail: Guardrail, promote_config: GenerationPromote) -> str:
    verdict = "forgot what its base knew" if guardrail.violated else "has not surely forgotten what its base knew"
    limit = f"the bound is {-promote_config.max_retention_loss:g}"
    return f"{verdict}: {guardrail.name} {-guardrail.loss:+.4f} on {guardrail.rows} questions, {limit}"


def _share_guardrail(
    kind: str, name: str, right: np.ndarray, rival_right: np.ndarray, limit: float, promote_config: PromoteConfig
) -> Guardrail:
    """right, rival_right: [rows] of bool."""
    loss = statistics.loss(right, rival_right, limit, promote_config.bootstrap, promote_config.seed)
    enough = loss.discordant >= statistics.min_discordant_rows(promote_config.confidence)
    violated = loss.value > limit and loss.confidence >= promote_config.confidence and enough
    return Guardrail(kind, name, loss.rows, loss.value, limit, loss.confidence, violated)


def _slices(
    predictions: pd.DataFrame, promote_config: PromoteConfig, champion_test_ids: Collection[str] | None
) -> Iterator[tuple[str, str, np.ndarray]]:
    """kind, name and rows of every slice that has any."""
    if "source" in promote_config.slices:
        yield from (("slice", f"source {name}", rows) for name, rows in _groups(predictions["source"]))
    if "columns" in promote_config.slices:
        for column, values in slices.columns_of(predictions).items():
            yield from (("slice", f"{column} {value}", rows) for value, rows in slices.groups(values))
    if "known" in promote_config.slices:
        yield from (("slice", name, rows) for name, rows in _groups(_row_age(predictions, champion_test_ids)))


def _groups(column: pd.Series) -> Iterator[tuple[str, np.ndarray]]:
    return ((str(value), (column == value).to_numpy()) for value in sorted(column.unique()))


def _row_age(predictions: pd.DataFrame, champion_test_ids: Collection[str] | None) -> pd.Series:
    """[rows] known or new: whether the champion was tested on the row. Without the ids every row is known."""
    if champion_test_ids is None:
        return pd.Series("known", index=predictions.index)
    return predictions["id"].isin(list(champion_test_ids)).map({True: "known", False: "new"})


def _champion_test_reasons(
    predictions: pd.DataFrame, promote_config: PromoteConfig, champion_test_ids: Collection[str] | None
) -> Iterator[str]:
    if "known" not in promote_config.slices:
        return
    if champion_test_ids is None:
        yield "the rows that the champion was tested on are not kept any more: all rows count as known"
    elif (_row_age(predictions, champion_test_ids) == "new").all():
        yield "the champion was tested on none of these rows: all are new"


def _part_reasons(parts: tuple[Guardrail, ...], promote_config: PromoteConfig) -> Iterator[str]:
    worst = sorted(parts, key=lambda guardrail: -guardrail.loss)
    violated = [guardrail for guardrail in worst if guardrail.violated]
    for guardrail in violated[:NAMED]:
        yield (
            f"{guardrail} against the champion, the bound is {-guardrail.limit:g}; beyond it in "
            f"{guardrail.confidence:.1%} of resamples, {promote_config.confidence:.0%} asked"
        )
    if len(violated) > NAMED:
        yield f"and {len(violated) - NAMED} more labels or slices beyond their bound"
    if not violated:
        lowest = [next((part for part in worst if part.kind == kind), None) for kind in ("label", "slice")]
        names = ", ".join(str(part) for part in lowest if part and part.loss > 0)
        yield "no label and no slice is surely worse than the champion beyond its bound" + (
            names and f"; lowest: {names}"
        )


def _calibration(predictions: pd.DataFrame, champion: pd.DataFrame, promote_config: Promote) -> Iterator[Guardrail]:
    """None if a confidence of the champion is not a share. If one of the candidate is not, it violates the limit."""
    models = [(_is_right(table), table["confidence"].to_numpy()) for table in (predictions, champion)]
    limit, rows, bins = promote_config.calibration_error_rise, len(predictions), promote_config.calibration_bins
    if _invalid_confidences(predictions):
        yield Guardrail("calibration", "error", rows, 1.0, limit, 1.0, True)
    if _invalid_confidences(predictions) or _invalid_confidences(champion):
        return

    def rise(at: np.ndarray) -> float:
        error, champion_error = (statistics.calibration_error(right[at], sure[at], bins) for right, sure in models)
        return error - champion_error

    loss = rise(np.arange(rows))
    draws = statistics.resamples(rows, promote_config.bootstrap, promote_config.seed)
    confidence = float(np.mean([rise(draw) > limit for draw in draws]))
    enough = rows >= statistics.min_discordant_rows(promote_config.confidence)
    violated = loss > limit and confidence >= promote_config.confidence and enough
    yield Guardrail("calibration", "error", rows, loss, limit, confidence, violated)


def _calibration_reasons(
    predictions: pd.DataFrame, champion: pd.DataFrame, guardrails: tuple[Guardrail, ...]
) -> Iterator[str]:
    invalid = {"candidate": _invalid_confidences(predictions), "champion": _invalid_confidences(champion)}
    for name, rows in invalid.items():
        if rows:
            yield f"the confidence of the {name} is no number from 0 to 1 in {rows} of {len(predictions)} rows"
    for guardrail in guardrails if not any(invalid.values()) else ():
        within = "within" if guardrail.loss <= guardrail.limit else "not surely above"
        place = "surely above" if guardrail.violated else within
        yield f"calibration error {guardrail.loss:+.4f} against the champion, {place} the bound of {guardrail.limit:+g}"


def _invalid_confidences(predictions: pd.DataFrame) -> int:
    """Rows whose confidence is not a number from 0 to 1."""
    confidence = predictions["confidence"].to_numpy()
    return int(np.sum(~((confidence >= 0) & (confidence <= 1 + 1e-6))))
