"""What a candidate may lose to the champion at most, on parts of the rows that a single score does not show.

    label         the rows of one label: it may lose so much of its recall
    slice         the rows of one source; the rows that the champion was tested on itself, and the new ones
    calibration   the confidence may be off by so much more
    general       of a model that writes: right answers that its own base gave, in sets that training never saw

A model that writes has no labels, and on a slice it is compared by the metric of the gate.

Labels and slices are counted by the share of their rows that is right. For a label that is its recall, in which each
of its rows counts once. A loss of precision is another label's loss of recall, so no mistake goes unseen; F1 moves
with the rows of other labels too, so that on few rows nobody can say how sure its change is.

A part counts as worse only if the paired bootstrap says so with the confidence asked, and enough of its rows differ
for an exact test to agree; else the smallest labels would hold every candidate by chance. Nothing is corrected for
the number of labels: a candidate that is held without need waits a week, one that lost a label is served.

The champion's own test rows are a slice of their own: the new rows may be wrong in the very way that the candidate
has learned, so who is better on those alone has proved nothing.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from retune.config.params import Promote, PromoteWriting
from retune.evaluation import statistics, task_metrics

Section = Promote | PromoteWriting
TOLD = 3  # broken labels and slices that are named in the reasons; the record holds all


@dataclass(frozen=True)
class Guardrail:
    kind: str  # label, slice, calibration or general
    name: str
    rows: int
    loss: float  # above zero: worse than the champion
    limit: float
    confidence: float  # share of resamples in which the loss is larger than the limit
    broken: bool

    def __str__(self) -> str:
        return f"{self.kind} {self.name} {-self.loss:+.4f} on {self.rows} rows"


def check(
    said: pd.DataFrame, champion: pd.DataFrame, section: Section, known: Collection[str] | None
) -> tuple[tuple[Guardrail, ...], tuple[str, ...]]:
    """Every bound against the champion, and in a few lines what came of them.

    said, champion: predictions of the same rows, `said` with their `source`; known: the ids of the champion's own
    test rows, None if they are not kept.
    """
    if isinstance(section, PromoteWriting):
        parts = tuple(_written_parts(said, champion, section, known))
        return parts, (*_tell_known(said, section, known), *_tell_parts(parts, section))
    parts = tuple(_parts(said, champion, section, known))
    sure = tuple(_calibration(said, champion, section))
    told = (*_tell_known(said, section, known), *_tell_parts(parts, section), *_tell_calibration(said, champion, sure))
    return (*parts, *sure), told


def check_general(said: pd.DataFrame | None, section: Section) -> tuple[tuple[Guardrail, ...], tuple[str, ...]]:
    """Whether training has cost what the base knew. said: a row for each question: set, right, base_right."""
    if said is None or not isinstance(section, PromoteWriting):
        return (), ()
    found = tuple(_general(said, section))
    return found, tuple(_tell_general(bound, section) for bound in found)


def _right(said: pd.DataFrame) -> np.ndarray:
    return (said["predicted"] == said["label"]).to_numpy()


# ---------------------------------------------------------------- labels and slices


def _parts(
    said: pd.DataFrame, champion: pd.DataFrame, section: Promote, known: Collection[str] | None
) -> Iterator[Guardrail]:
    ours, theirs = _right(said), _right(champion)
    limits = {"label": section.max_label_recall_loss, "slice": section.max_slice_loss}
    for kind, name, rows in _subsets(said, section, known):
        limit = limits[kind]
        found = statistics.loss(ours[rows], theirs[rows], limit, section.bootstrap, section.seed)
        yield _judged(kind, name, found, limit, section.confidence)


def _written_parts(
    said: pd.DataFrame, champion: pd.DataFrame, section: PromoteWriting, known: Collection[str] | None
) -> Iterator[Guardrail]:
    for kind, name, rows in _slices(said, section, known):
        pair = task_metrics.paired_scores(section.metric, said[rows], champion[rows])
        if not len(pair.candidate):  # nothing was written for any of these rows
            continue
        draws, limit = (
            statistics.resamples(len(pair.candidate), section.bootstrap, section.seed),
            section.max_slice_loss,
        )
        found = statistics.compare(
            pair.score, pair.truth, pair.candidate, pair.rival, pair.differs, -limit, draws, section.confidence
        )
        beyond = 1 - found.confidence
        sure = beyond >= section.confidence and found.differing >= statistics.min_discordant_rows(section.confidence)
        yield Guardrail(kind, name, found.rows, -found.gain, limit, beyond, -found.gain > limit and sure)


def _general(said: pd.DataFrame, section: PromoteWriting) -> Iterator[Guardrail]:
    for name, rows in _groups(said["set"]):
        ours, theirs = (said.loc[rows, column].to_numpy(dtype=bool) for column in ("right", "base_right"))
        found = statistics.loss(ours, theirs, section.max_retention_loss, section.bootstrap, section.seed)
        yield _judged("general", name, found, section.max_retention_loss, section.confidence)


def _tell_general(bound: Guardrail, section: PromoteWriting) -> str:
    fate = "forgot what its base knew" if bound.broken else "has not surely forgotten what its base knew"
    limit = f"the bound is {-section.max_retention_loss:g}"
    return f"{fate}: {bound.name} {-bound.loss:+.4f} on {bound.rows} questions, {limit}"


def _judged(kind: str, name: str, found: statistics.Loss, limit: float, confidence: float) -> Guardrail:
    sure = found.confidence >= confidence and found.differing >= statistics.min_discordant_rows(confidence)
    return Guardrail(kind, name, found.rows, found.value, limit, found.confidence, found.value > limit and sure)


def _subsets(
    said: pd.DataFrame, section: Promote, known: Collection[str] | None
) -> Iterator[tuple[str, str, np.ndarray]]:
    """kind, name and rows of every label and slice that has any."""
    yield from (("label", name, rows) for name, rows in _groups(said["label"]))
    yield from _slices(said, section, known)


def _slices(
    said: pd.DataFrame, section: Section, known: Collection[str] | None
) -> Iterator[tuple[str, str, np.ndarray]]:
    if "source" in section.slices:
        yield from (("slice", f"source {name}", rows) for name, rows in _groups(said["source"]))
    if "known" in section.slices:
        yield from (("slice", name, rows) for name, rows in _groups(_age(said, known)))


def _groups(column: pd.Series) -> Iterator[tuple[str, np.ndarray]]:
    return ((str(value), (column == value).to_numpy()) for value in sorted(column.unique()))


def _age(said: pd.DataFrame, known: Collection[str] | None) -> pd.Series:
    """known or new, of each row. If nobody can say which are known, all are."""
    old = said["id"].isin(list(known)) if known is not None else pd.Series(True, index=said.index)
    return old.map({True: "known", False: "new"})


def _tell_known(said: pd.DataFrame, section: Section, known: Collection[str] | None) -> Iterator[str]:
    if "known" not in section.slices:
        return
    if known is None:
        yield "the rows that the champion was tested on are not kept any more: all rows count as known"
    elif (_age(said, known) == "new").all():
        yield "the champion was tested on none of these rows: all are new"


def _tell_parts(parts: tuple[Guardrail, ...], section: Section) -> Iterator[str]:
    worst = sorted(parts, key=lambda bound: -bound.loss)
    broken = [bound for bound in worst if bound.broken]
    for bound in broken[:TOLD]:
        yield (
            f"{bound} against the champion, the bound is {-bound.limit:g}; beyond it in {bound.confidence:.1%} of "
            f"resamples, {section.confidence:.0%} asked"
        )
    if len(broken) > TOLD:
        yield f"and {len(broken) - TOLD} more labels or slices beyond their bound"
    if not broken:
        lowest = [next((bound for bound in worst if bound.kind == kind), None) for kind in ("label", "slice")]
        told = ", ".join(str(bound) for bound in lowest if bound and bound.loss > 0)
        yield "no label and no slice is surely worse than the champion beyond its bound" + (
            told and f"; lowest: {told}"
        )


# ---------------------------------------------------------------- calibration


def _calibration(said: pd.DataFrame, champion: pd.DataFrame, section: Promote) -> Iterator[Guardrail]:
    """One bound, or none if the champion's confidence is no number. A candidate's that is none breaks it."""
    sides = [(_right(each), each["confidence"].to_numpy()) for each in (said, champion)]
    limit, rows, bins = section.calibration_error_rise, len(said), section.calibration_bins
    if _no_shares(said):
        yield Guardrail("calibration", "error", rows, 1.0, limit, 1.0, True)
    if _no_shares(said) or _no_shares(champion):
        return

    def rise(at: np.ndarray) -> float:
        ours, theirs = (statistics.calibration_error(right[at], sure[at], bins) for right, sure in sides)
        return ours - theirs

    found = rise(np.arange(rows))
    rises = np.array([rise(at) for at in statistics.resamples(rows, section.bootstrap, section.seed)])
    confidence = float(np.mean(rises > limit))
    broken = (
        found > limit
        and confidence >= section.confidence
        and rows >= statistics.min_discordant_rows(section.confidence)
    )
    yield Guardrail("calibration", "error", rows, found, limit, confidence, broken)


def _tell_calibration(said: pd.DataFrame, champion: pd.DataFrame, found: tuple[Guardrail, ...]) -> Iterator[str]:
    wrong = {"candidate": _no_shares(said), "champion": _no_shares(champion)}
    for who, rows in wrong.items():
        if rows:
            yield f"the confidence of the {who} is no number from 0 to 1 in {rows} of {len(said)} rows"
    for bound in found if not any(wrong.values()) else ():
        place = "surely above" if bound.broken else "within" if bound.loss <= bound.limit else "not surely above"
        yield f"calibration error {bound.loss:+.4f} against the champion, {place} the bound of {bound.limit:+g}"


def _no_shares(said: pd.DataFrame) -> int:
    """Rows whose confidence is no number from 0 to 1."""
    sure = said["confidence"].to_numpy()
    return int(np.sum(~((sure >= 0) & (sure <= 1 + 1e-6))))
