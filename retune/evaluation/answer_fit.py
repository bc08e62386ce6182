"""Which answers do not fit what was asked, and which preferences contradict each other, by vectors of their texts.

Two opinions on each pair of prompt and answer, added in units of their standard deviations:

1. Nearness: the cosine of both, beside those of the prompt and the answers to other prompts.
2. Expectation: a ridge regression from prompts to answers (Hoerl & Kennard 1970), without the row itself (Allen 1974,
   PRESS); the cosine of the answer and of what the other rows lead to expect. It knows what an answer here looks like,
   which a house style hides from the first.
"""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
PENALTY = 1.0  # of the ridge, for vectors of length 1
POOL = 20_000  # other rows beside which a pair is seen, and among which like prompts are sought
CHUNK = 1024  # prompts at once
LIKE = 0.8  # cosine from which on two texts say the same
NEIGHBOURS = 20  # like prompts whose preferences are compared


def doubts(prompts: Array, answers: Array) -> Array:
    """[rows] robust standard deviations by which an answer fits its prompt worse than usual; larger is more doubtful.

    prompts, answers: [rows, width], of length 1, of at least three rows. The middle row has 0.
    """
    doubt = _standard(-_nearness(prompts, answers)) + _standard(-_expectation(prompts, answers))
    middle = np.median(doubt)
    spread = 1.4826 * np.median(np.abs(doubt - middle))
    result: Array = (doubt - middle) / (spread or 1.0)
    return result


def contradictions(prompts: Array, chosen: Array, rejected: Array) -> list[tuple[int, int, float]]:
    """Pairs of rows with like prompts of which each chose what the other rejected: (row, later row, least cosine)."""
    pairs = {}
    pool = _pool(len(prompts))
    count = min(NEIGHBOURS + 1, len(pool))
    for start in range(0, len(prompts), CHUNK):
        cosines = prompts[start : start + CHUNK] @ prompts[pool].T
        nearest = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        ones, places = np.nonzero(np.take_along_axis(cosines, nearest, 1) >= LIKE)
        others, ones = pool[nearest[ones, places]], ones + start
        crossed = np.minimum((chosen[ones] * rejected[others]).sum(1), (rejected[ones] * chosen[others]).sum(1))
        straight = np.minimum((chosen[ones] * chosen[others]).sum(1), (rejected[ones] * rejected[others]).sum(1))
        for at in np.flatnonzero((crossed >= LIKE) & (crossed > straight) & (ones != others)):
            one, other = sorted((int(ones[at]), int(others[at])))
            pairs[one, other] = float(crossed[at])
    return sorted(((*pair, cosine) for pair, cosine in pairs.items()), key=lambda pair: (-pair[2], pair[:2]))


def _nearness(prompts: Array, answers: Array) -> Array:
    to_own = (prompts * answers).sum(1)
    others = answers[_pool(len(answers))]
    means, deviations = np.empty_like(to_own), np.empty_like(to_own)
    for start in range(0, len(prompts), CHUNK):
        cosines = prompts[start : start + CHUNK] @ others.T
        means[start : start + CHUNK], deviations[start : start + CHUNK] = cosines.mean(1), cosines.std(1)
    nearness: Array = (to_own - means) / np.maximum(deviations, 1e-6)
    return nearness


def _expectation(prompts: Array, answers: Array) -> Array:
    inputs = np.concatenate([prompts, np.ones((len(prompts), 1))], axis=1).astype(np.float64)
    hat = np.linalg.solve(inputs.T @ inputs + PENALTY * np.eye(inputs.shape[1]), inputs.T)
    leverage = np.minimum((inputs * hat.T).sum(1), 1 - 1e-6)[:, None]
    without = answers - (answers - inputs @ (hat @ answers)) / (1 - leverage)
    length = np.maximum(np.linalg.norm(without, axis=1), 1e-12)
    cosine: Array = (without * answers).sum(1) / length
    return cosine


def _pool(count: int) -> Array:
    return np.arange(count) if count <= POOL else np.linspace(0, count - 1, POOL).astype(np.int64)


def _standard(values: Array) -> Array:
    spread = values.std()
    return (values - values.mean()) / spread if spread > 0 else np.zeros_like(values)
