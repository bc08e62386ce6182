"""Whether a rollout is stopped when it should be, and only then: 1,000 simulated rollouts of each kind.

    python bench/rollout.py [--rollouts 1000]

Both arms answer requests, and somebody looks after every 50. Beside the anytime-valid test of
`retune.promotion.anytime` stands the z-test of two shares, at the same looks and the same level.

Goals: a healthy candidate is rolled back in at most 5% of the rollouts, also where its share and the rate of errors
change from step to step; one that doubles an error rate of 2% in at least 99%, after a median of fewer than 1,300
requests an arm; where both arms answer the same requests in the shadow and their answers are labelled, with at most a
quarter as many labels; one that is worse by the whole margin passes as "not worse by more" in at most 5%; and equal
latencies and ratings count as worse in at most 5%. Exits with 1 where one is missed.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from retune.promotion import anytime, anytime_means
from retune.promotion.anytime import Block
from retune.promotion.anytime_means import Values

LEVEL = 0.05
Z = 1.6448536269514722  # one-sided, at LEVEL
RATE, DOUBLE, MARGIN = 0.02, 0.04, 1.5
LOOK = 50  # requests between two looks, of both arms together
STEPS = ((0.01, 0.02), (0.05, 0.03), (0.25, 0.01), (0.5, 0.02))  # share of the candidate, rate of errors that day
OF_STEP = 2_500  # requests a step
SHARED = (0.9, 0.75)  # of the champion's errors that the candidate makes too, on the same request
PAIRED_LOOKS = 400
NEVER = 10**9


class Row:
    """A line of the table, which a goal may hold."""

    goals_missed = 0

    def __init__(self, kind: str, figure: str, goal: str = "", holds: bool = True) -> None:
        Row.goals_missed += not holds
        print(f"{kind:64} {figure:>34}  {goal:30} {'' if not goal else 'yes' if holds else 'MISSED'}", flush=True)


def counts(
    draw: np.random.Generator, rollouts: int, share: float, rates: tuple[float, float], looks: int
) -> np.ndarray:
    """Block counts [rollouts, looks, 4]: requests and errors of candidate and champion."""
    candidate = draw.binomial(LOOK, share, (rollouts, looks)) if share != 0.5 else np.full((rollouts, looks), LOOK // 2)
    champion = LOOK - candidate
    return np.stack(
        [candidate, draw.binomial(candidate, rates[0]), champion, draw.binomial(champion, rates[1])], axis=-1
    )


def first_crossings(blocks: np.ndarray, sign: int = 1, ratio: float = 1.0) -> np.ndarray:
    """The look, from 1, at which each rollout's evidence reaches 1 / LEVEL. blocks: [rollouts, looks, 4]."""
    kinds, which = np.unique(blocks.reshape(-1, 4), axis=0, return_inverse=True)
    which = which.reshape(blocks.shape[:2])
    offsets, weights = anytime.prior(anytime.SHAPE)
    odds = np.concatenate([[math.log(ratio)], math.log(ratio) + sign * offsets])
    table = np.array([anytime.log_likelihood([Block(*map(int, kind))], odds) for kind in kinds])
    total, first = np.zeros((len(blocks), len(odds))), np.full(len(blocks), NEVER)
    for look in range(blocks.shape[1]):
        total += table[which[:, look]]
        evidence = np.exp(total[:, 1:] - total[:, :1]) @ np.exp(weights)
        first[(evidence >= 1 / LEVEL) & (first == NEVER)] = look + 1
    return first


def z_alarms(blocks: np.ndarray) -> float:
    """The share of rollouts in which a z-test of all requests so far is significant at one of the looks."""
    candidate, wrong, champion, champion_wrong = np.moveaxis(np.cumsum(blocks, axis=1), -1, 0).astype(float)
    rate = (wrong + champion_wrong) / (candidate + champion)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(rate * (1 - rate) * (1 / candidate + 1 / champion))
        z = (wrong / candidate - champion_wrong / champion) / error
    return float(np.mean((np.nan_to_num(z, nan=0.0, posinf=0.0) > Z).any(axis=1)))


def share_of(first: np.ndarray) -> float:
    return float(np.mean(first < NEVER))


def by_steps(draw: np.random.Generator, rollouts: int, factor: float) -> np.ndarray:
    looks = OF_STEP // LOOK
    parts = [counts(draw, rollouts, share, (rate * factor, rate), looks) for share, rate in STEPS]
    return np.concatenate(parts, axis=1)


def errors(draw: np.random.Generator, rollouts: int) -> float:
    """The rows of the comparison of errors. Returns the median of requests an arm until a doubled rate is noticed."""
    healthy = counts(draw, rollouts, 0.5, (RATE, RATE), 100)
    alarms = share_of(first_crossings(healthy))
    figure = f"{alarms:.1%} (z-test {z_alarms(healthy):.0%})"
    Row("healthy, half each, 5,000 requests: rolled back", figure, "at most 5%", alarms <= LEVEL)
    healthy = by_steps(draw, rollouts, 1.0)
    alarms = share_of(first_crossings(healthy))
    figure = f"{alarms:.1%} (z-test {z_alarms(healthy):.0%})"
    Row("healthy, steps of 1, 5, 25, 50%, rates of 1 to 3%: rolled back", figure, "at most 5%", alarms <= LEVEL)

    first = first_crossings(counts(draw, rollouts, 0.5, (DOUBLE, RATE), 400))
    median = float(np.median(first)) * LOOK / 2
    alarms = share_of(first)
    Row("doubled, half each: rolled back", f"{alarms:.1%}", "at least 99%", alarms >= 0.99)
    ninth = f"{np.quantile(first, 0.9) * LOOK / 2:,.0f}"
    Row("   requests an arm until then, median (90%)", f"{median:,.0f} ({ninth})", "fewer than 1,300", median < 1_300)
    Row("doubled, by those steps: rolled back", f"{share_of(first_crossings(by_steps(draw, rollouts, 2.0))):.1%}")

    at_margin = counts(draw, rollouts, 0.5, (RATE * MARGIN, RATE), 400)  # its odds ratio is a little above
    passes = share_of(first_crossings(at_margin, -1, MARGIN))
    Row("worse by the margin of 1.5: passes as not worse by more", f"{passes:.1%}", "at most 5%", passes <= LEVEL)
    first = first_crossings(counts(draw, rollouts, 0.5, (RATE, RATE), 800), -1, MARGIN)
    Row("healthy: requests an arm until it passes, median", f"{np.median(first) * LOOK / 2:,.0f}")
    return median


def paired(draw: np.random.Generator, rollouts: int, apart: float) -> None:
    """Both arms answer the same requests. A label says of one request which arms were right."""
    for shared, goal in zip(SHARED, ("at most a quarter", ""), strict=True):
        champion_alone, candidate_alone = RATE * (1 - shared), DOUBLE - RATE * shared
        first = _first_of_pairs(draw, rollouts, candidate_alone, champion_alone)
        kind = f"doubled, paired in the shadow, {shared:.0%} of the errors shared: noticed"
        Row(kind, f"{share_of(first):.1%}", "at least 99%", share_of(first) >= 0.99)
        labels = float(np.median(first)) * LOOK
        share = labels / (2 * apart)
        figure = f"{labels:,.0f} of {2 * apart:,.0f}: {share:.0%}"
        Row("   labels until then, median", figure, goal, not goal or share <= 0.25)
    alarms = share_of(_first_of_pairs(draw, rollouts, champion_alone, champion_alone))
    Row("healthy, paired in the shadow: counts as worse", f"{alarms:.1%}", "at most 5%", alarms <= LEVEL)


def _first_of_pairs(draw: np.random.Generator, rollouts: int, worse: float, better: float) -> np.ndarray:
    """The look, from 1, that notices it. worse, better: rates at which the candidate or the champion alone is wrong."""
    offsets, weights = anytime.prior(anytime.PAIRED)
    alone = draw.multinomial(LOOK, [worse, better, 1 - worse - better], (rollouts, PAIRED_LOOKS))
    odds = np.concatenate([[0.0], offsets])
    one, other = (anytime.log_likelihood(anytime.paired(*pair), odds) for pair in ((1, 0), (0, 1)))
    total, first = np.zeros((rollouts, len(odds))), np.full(rollouts, NEVER)
    for look in range(PAIRED_LOOKS):
        total += alone[:, look, 0, None] * one + alone[:, look, 1, None] * other
        evidence = np.exp(total[:, 1:] - total[:, :1]) @ np.exp(weights)
        first[(evidence >= 1 / LEVEL) & (first == NEVER)] = look + 1
    return first


def means(draw: np.random.Generator, rollouts: int) -> None:
    """Latencies (the logarithm of a log-normal one with a heavy tail) and ratings of 1 to 5, at 5% and then at half."""
    stars = np.array([1, 2, 3, 4, 5])
    kinds = {
        "equal latencies: count as worse": lambda size: draw.standard_t(4, size) * 0.5,
        "equal ratings: count as worse": lambda size: draw.choice(stars, size, p=[0.1, 0.05, 0.1, 0.25, 0.5]),
        "equal ratings, nine in ten the same: count as worse": lambda size: draw.choice(
            stars, size, p=[0.02, 0.01, 0.02, 0.05, 0.9]
        ),
    }
    for kind, of in kinds.items():
        alarms = np.mean([_alarm(of) for _ in range(rollouts)])
        Row(kind, f"{alarms:.1%}", "at most 5%", bool(alarms <= LEVEL))


def _alarm(values_of: Callable[[int], np.ndarray]) -> bool:
    done: list[tuple[Values, Values]] = []
    for share in (0.05, 0.5):
        candidate, champion = (values_of(int(2_000 * part)) for part in (share, 1 - share))
        for look in range(LOOK, 2_001, LOOK):
            pair = (_values(candidate, look * share), _values(champion, look * (1 - share)))
            if anytime_means.evidence_above(anytime_means.difference([*done, pair]), 0.0) >= 1 / LEVEL:
                return True
        done.append(pair)
    return False


def _values(values: np.ndarray, count: float) -> Values:
    some = values[: int(count)]
    if len(some) < 2:
        return Values(len(some), 0.0, 0.0)
    return Values(len(some), float(some.mean()), float(some.var(ddof=1)))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=1_000, help="of each kind")
    rollouts = parser.parse_args(arguments).rollouts
    draw = np.random.default_rng(17)
    apart = errors(draw, rollouts)
    paired(draw, rollouts, apart)
    means(draw, rollouts)
    sys.exit(1 if Row.goals_missed else 0)


if __name__ == "__main__":
    main()
