"""Whether a model gives away which rows it learned from: how well an attacker tells them from rows never seen.

The attacker knows how likely the model finds each row's answer. AUC 0.5: rows that were learned from look like others.

    loss          Yeom et al. 2018, Privacy Risk in Machine Learning (threshold on the loss)
    calibrated    the likelihood beyond that of rows of the same difficulty, as a model that saw none of the rows finds
                  them: after Watson et al. 2022, On the Importance of Difficulty Calibration, and Carlini et al. 2022,
                  Membership Inference Attacks From First Principles, with one line in place of many shadow models
"""

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from retune.evaluation.statistics import Interval

SMALLEST = 1e-6  # distance of a probability from 0 and 1


def certainty(probability: np.ndarray) -> np.ndarray:
    """Log-odds of the true answer: near to normal where a loss is not (Carlini et al. 2022, 4)."""
    clipped = np.clip(probability, SMALLEST, 1 - SMALLEST)
    odds: np.ndarray = np.log(clipped) - np.log1p(-clipped)
    return odds


def beyond_difficulty(values: np.ndarray, reference: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """[rows] what is above the line of `values` over `reference`, fitted to the held-out rows."""
    if held_out.sum() < 3 or np.std(reference[held_out]) == 0:
        return values
    slope, start = np.polyfit(reference[held_out], values[held_out], 1)
    above: np.ndarray = values - (start + slope * reference)
    return above


def auc(values: np.ndarray, members: np.ndarray, confidence: float) -> Interval | None:
    """Probability that a row learned from has the larger value than one never seen. members: [rows] of bool.

    The interval is that of Newcombe 2006, Statistics in Medicine 25, method 5: the values whose standard error by
    Hanley & McNeil 1982 reaches the estimate, so that it has a width at 0 and 1 too. None without rows of both kinds.
    """
    learned_rows, other_rows = int(members.sum()), int((~members).sum())
    if not learned_rows or not other_rows:
        return None
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    value = float((ranks[members].sum() - learned_rows * (learned_rows + 1) / 2) / (learned_rows * other_rows))
    deviations, mean = NormalDist().inv_cdf((1 + confidence) / 2), (learned_rows + other_rows) / 2 - 1

    def is_near(area: float) -> bool:
        spread = (
            area
            * (1 - area)
            * (1 + mean * (1 - area) / (2 - area) + mean * area / (1 + area))
            / (learned_rows * other_rows)
        )
        return abs(area - value) <= deviations * math.sqrt(spread)

    return Interval(value, _end(value, 0.0, is_near), _end(value, 1.0, is_near))


def _end(inside: float, outside: float, is_near: Callable[[float], bool]) -> float:
    for _ in range(40):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if is_near(middle) else (inside, middle)
    return round(inside, 9)
