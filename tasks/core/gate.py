"""The gate: candidate against base and champion on the same rows, yes or no, and why. A tie keeps the champion."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.core import scores
from tasks.core.errors import Refused
from tasks.core.params import Promote


@dataclass(frozen=True)
class Rival:
    """One comparison of the candidate, and whether it won."""

    name: str  # base or champion
    won: bool
    margin: float
    found: scores.Comparison
    reason: str


@dataclass(frozen=True)
class Decision:
    promote: bool
    reasons: tuple[str, ...]
    rivals: tuple[Rival, ...] = ()
    champion: str | None = None  # NAME/VERSION of the champion that it was compared with
    awaiting: bool = False  # the gate said yes, and a person has to say so too


def decide(said: pd.DataFrame, champion: pd.DataFrame | None, section: Promote, name: str | None = None) -> Decision:
    """said: predictions.parquet of the candidate; champion: that of the champion `name` on the same rows, or None."""
    rivals = [_against("base", said, said["base_predicted"], section.margin_over_base, section)]
    if champion is not None:
        if said[["id", "label"]].to_numpy().tolist() != champion[["id", "label"]].to_numpy().tolist():
            raise Refused("candidate and champion were scored on different rows: they cannot be compared")
        rivals.append(_against("champion", said, champion["predicted"], section.margin_over_champion, section))
    return Decision(all(rival.won for rival in rivals), tuple(rival.reason for rival in rivals), tuple(rivals), name)


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
    return Rival(name, won, margin, found, reason)
