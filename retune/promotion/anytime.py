"""Is the candidate worse than the champion? A comparison of two error rates that may be looked at all the time.

The requests of a rollout come in blocks: what both arms answered between two looks. Under the hypothesis "not worse"
the errors of a block fall on its requests without regard to the arm, so how many of them are the candidate's follows
the hypergeometric distribution, whatever the rate is, however it drifts from block to block, and however unequal the
arms are. Under an odds ratio above one it follows Fisher's noncentral one. The quotient of the two, averaged over a
prior of odds ratios and multiplied over the blocks, is an e-process: the chance that it ever reaches 1 / alpha is at
most alpha if the candidate is not worse (Ville's inequality), so stopping is safe at any time, at any number of looks.
This is the two-sample test conditional on totals of Turner, Ly & Grünwald 2024 ("Generic E-variables for exact
sequential k-sample tests that allow for optional stopping"), section 3; with one error a block and equal arms it is the
beta-binomial e-process of Robbins 1970.

It assumes that arms are assigned without regard to the outcome, and that within a block errors of one arm do not come
in crowds: a subject that keeps its arm and makes a tenth of the traffic counts as a tenth of the evidence.

Where both arms answer the same request and somebody says which was right, a block is one request: those on which one
arm alone is wrong count, which is the sequential sign test (`paired`).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import gammaln, logsumexp

from retune.evaluation.statistics import Interval

SHAPE = 3.0  # of the beta prior of an error being the candidate's: most of it lies on odds ratios of 1.2 to 6
PAIRED = 1.0  # the same of pairs, where more is possible: two versions share most of their errors
POINTS = 80  # of that prior
WIDEST = 1000.0  # odds ratio at which an interval ends


@dataclass(frozen=True)
class Block:
    """Requests and errors of both arms between two looks. Its bounds must not depend on the errors."""

    candidate: int
    candidate_errors: int
    champion: int
    champion_errors: int


def paired(candidate_alone: int, champion_alone: int) -> list[Block]:
    """Requests that both arms answered: the number on which one arm alone was wrong. The others say nothing."""
    return [Block(1, 1, 1, 0)] * candidate_alone + [Block(1, 0, 1, 1)] * champion_alone


def evidence_worse(blocks: Iterable[Block], ratio: float = 1.0, shape: float = SHAPE) -> float:
    """E-value against "the candidate's odds of an error are at most `ratio` times the champion's".

    shape: `PAIRED` for blocks of `paired`.
    """
    offsets, weights = prior(shape)
    return _against(tuple(blocks), ratio, offsets, weights)


def evidence_no_worse(blocks: Iterable[Block], ratio: float, shape: float = SHAPE) -> float:
    """E-value against "the candidate's odds of an error are at least `ratio` times the champion's"."""
    offsets, weights = prior(shape)
    return _against(tuple(blocks), ratio, -offsets, weights)


def _against(blocks: Sequence[Block], ratio: float, offsets: np.ndarray, weights: np.ndarray) -> float:
    null = math.log(ratio)
    at = log_likelihood(blocks, np.concatenate([[null], null + offsets]))
    return _exp(float(logsumexp(at[1:] + weights)) - float(at[0]))


def odds_interval(blocks: Iterable[Block], confidence: float) -> Interval:
    """The odds ratio of an error, candidate to champion: a confidence sequence, which holds at all looks together.

    Those ratios that the mixture over both sides does not refute (Robbins 1970).
    """
    together = tuple(blocks)
    offsets, weights = prior(SHAPE)
    both = np.concatenate([-offsets, offsets])
    mixture = logsumexp(log_likelihood(together, both) + np.concatenate([weights, weights])) - math.log(2)
    ratios = np.linspace(-math.log(WIDEST), math.log(WIDEST), 1201)
    at = log_likelihood(together, ratios)
    likeliest = float(ratios[int(np.argmax(at))]) if at.any() else 0.0
    inside = ratios[mixture - at < -math.log(1 - confidence)]
    low, high = float(inside[0]), float(inside[-1])
    return Interval(
        math.exp(likeliest),
        0.0 if low <= ratios[0] else math.exp(low),
        math.inf if high >= ratios[-1] else math.exp(high),
    )


def log_likelihood(blocks: Sequence[Block], log_odds: np.ndarray) -> np.ndarray:
    """[log_odds] of how many errors of each block were the candidate's, given the number of errors of the block."""
    total = np.zeros(len(log_odds))
    counts: dict[Block, int] = {}
    for block in blocks:
        counts[block] = counts.get(block, 0) + 1
    at = tuple(log_odds.tolist())
    for block, times in counts.items():
        if block.candidate_errors + block.champion_errors > 0 and block.candidate and block.champion:
            total += times * _of_block(block, at)
    return total


@lru_cache(maxsize=4096)
def _of_block(block: Block, log_odds: tuple[float, ...]) -> np.ndarray:
    """Fisher's noncentral hypergeometric distribution, at the candidate's errors."""
    errors = block.candidate_errors + block.champion_errors
    possible = np.arange(max(0, errors - block.champion), min(errors, block.candidate) + 1)
    ways = _log_choose(block.candidate, possible) + _log_choose(block.champion, errors - possible)
    odds = np.asarray(log_odds)
    all_ways = logsumexp(ways[None, :] + odds[:, None] * possible[None, :], axis=1)
    result: np.ndarray = ways[block.candidate_errors - possible[0]] + odds * block.candidate_errors - all_ways
    result.flags.writeable = False
    return result


def _log_choose(of: int, some: np.ndarray) -> np.ndarray:
    values: np.ndarray = gammaln(of + 1) - gammaln(some + 1) - gammaln(of - some + 1)
    return values


@lru_cache(maxsize=2)
def prior(shape: float) -> tuple[np.ndarray, np.ndarray]:
    """Log odds ratios above zero, and the logarithms of their weights: a beta prior of the share, cut at one half."""
    share = 0.5 + (np.arange(POINTS) + 0.5) / (2 * POINTS)
    density = (shape - 1) * (np.log(share) + np.log1p(-share))
    return np.log(share / (1 - share)), density - logsumexp(density)


def _exp(logarithm: float) -> float:
    return math.exp(min(logarithm, 700.0))
