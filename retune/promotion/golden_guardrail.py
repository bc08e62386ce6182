"""Golden cases as guardrails: a candidate that fails one is held, the very first version too.

A case is no estimate, so there is no interval and no bound: one wrong answer is enough. It does not make a candidate
`worse` than the champion, which may fail the same case, and so says nothing against the new rows.

The reasons are part of a record, and `retune verify` compares them to the letter: a changed word makes the gate of each
older version fail its check.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from retune.promotion.guardrails import Guardrail, Results

KIND = "golden"
NAMED = 10  # failed cases that the reason names; the record holds all


def check(golden: Sequence[Mapping[str, Any]]) -> Results:
    """golden: name and problem of each case, as details.json holds them; without a case there is nothing to say."""
    failed = [str(case["name"]) for case in golden if case["problem"]]
    guardrails = tuple(Guardrail(KIND, name, 1, 1.0, 0.0, 1.0, True) for name in failed)
    if not golden:
        return (), ()
    if not failed:
        return (), (f"all {len(golden)} golden cases pass" if len(golden) > 1 else "the golden case passes",)
    names = ", ".join(map(repr, failed[:NAMED])) + (f" and {len(failed) - NAMED} more" if failed[NAMED:] else "")
    return guardrails, (f"fails {len(failed)} of {len(golden)} golden cases, which must never go wrong: {names}",)
