"""Candidate against base and champion on the same rows: yes or no, and why.

A version becomes `champion` if it beats the base by the margin and with the confidence of the params, and the
champion too, if there is one. Otherwise it stays `challenger` and no alias moves. A tie keeps the champion.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.core import registry, scores
from tasks.core.errors import Refused
from tasks.core.params import Promote

DECIDED = "decision"


@dataclass(frozen=True)
class Rival:
    """One comparison of the candidate, and whether it won."""

    name: str
    won: bool
    found: scores.Comparison
    reason: str


@dataclass(frozen=True)
class Decision:
    promote: bool
    reasons: tuple[str, ...]
    rivals: tuple[Rival, ...] = ()


def decide(said: pd.DataFrame, champion: pd.DataFrame | None, section: Promote) -> Decision:
    """said: predictions.parquet of the candidate; champion: that of the champion on the same rows, or None."""
    rivals = [_against("base", said, said["base_predicted"], section.margin_over_base, section)]
    if champion is not None:
        if said[["id", "label"]].to_numpy().tolist() != champion[["id", "label"]].to_numpy().tolist():
            raise Refused("candidate and champion were scored on different rows: they cannot be compared")
        rivals.append(_against("champion", said, champion["predicted"], section.margin_over_champion, section))
    return Decision(all(rival.won for rival in rivals), tuple(rival.reason for rival in rivals), tuple(rivals))


def _against(name: str, said: pd.DataFrame, theirs: pd.Series, margin: float, section: Promote) -> Rival:
    numbers, _ = pd.factorize(pd.concat([said["label"], said["predicted"], theirs]), sort=True)
    truth, ours, other = np.split(numbers, 3)
    draws = scores.resamples(len(truth), section.bootstrap, section.seed)
    score = scores.SCORES[section.metric]
    found = scores.compare(score, truth, ours, other, margin, draws, section.confidence)
    won = found.gain > margin and found.confidence >= section.confidence
    reason = (
        f"{section.metric} {'beats' if won else 'does not beat'} the {name}: gain {found.gain:+.4f} "
        f"[{found.low:+.4f}, {found.high:+.4f}] on {found.rows} rows; above the margin of {margin:g} in "
        f"{found.confidence:.1%} of resamples, {section.confidence:.0%} asked"
    )
    return Rival(name, won, found, reason)


def promote(version: registry.Version, decision: Decision) -> None:
    """Carry the decision out: the alias if the answer is yes, the reasons on the version in any case.

    The alias moves before the decision is written down: a crash in between is decided again, and alike.
    """
    if decision.promote:
        registry.set_alias(version, registry.CHAMPION)
        registry.drop_alias(version, registry.CHALLENGER)
    reasons = {f"reason.{number}": reason for number, reason in enumerate(decision.reasons, 1)}
    registry.tag_version(version, {**reasons, DECIDED: "champion" if decision.promote else "held"})


def decided(version: registry.Version) -> Decision | None:
    """What was decided about a version before, if anything was."""
    answer = version.tags.get(DECIDED)
    reasons = tuple(text for name, text in sorted(version.tags.items()) if name.startswith("reason."))
    return Decision(answer == "champion", reasons) if answer else None
