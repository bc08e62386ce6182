"""What somebody says of two answers, and what many such verdicts are worth."""

import math

OURS, THEIRS, ALIKE = "ours", "theirs", "alike"


def sign_test(wins: int, losses: int) -> float:
    """The chance of a lead as large as this or larger, for either side, if each row is the toss of a coin."""
    rows, fewer = wins + losses, min(wins, losses)
    return min(1.0, sum(math.comb(rows, k) for k in range(fewer + 1)) / 2 ** (rows - 1)) if rows else 1.0
