"""A classifier that gives away which rows it learned from is held, the very first version too, where params say so.

It counts by the lower end of the interval, so that a few rows hold nobody by chance. It does not make a candidate
`worse` than the champion, which learned from other rows.

The reasons are part of a record, and `retune verify` compares them to the letter: a changed word makes the gate of each
older version fail its check.
"""

from collections.abc import Mapping
from typing import Any

from retune.config.classification import Promote
from retune.promotion.guardrails import Guardrail, PromoteConfig, Results

KIND, MEASURE = "membership", "membership_auc_calibrated"
NO_BOUND = 1.0


def check(measures: Mapping[str, Any], promote_config: PromoteConfig) -> Results:
    """measures: of details.json. Nothing without a bound, or where nothing was measured."""
    if not isinstance(promote_config, Promote) or promote_config.max_membership_auc >= NO_BOUND:
        return (), ()
    limit, measure = promote_config.max_membership_auc, measures.get(MEASURE)
    if measure is None:
        return (), (f"whether it gives away the rows that it learned from was not measured; the bound is {limit:g}",)
    violated = measure["low"] > limit
    guardrail = Guardrail(KIND, MEASURE, measure["n"], measure["value"], limit, float(violated), violated)
    place = "surely above" if violated else "not surely above"
    low, high = measure["low"], measure["high"]
    interval = f"{measure['value']:.4f} [{low:.4f}, {high:.4f}] on {measure['n']} rows"
    return (guardrail,), (f"membership inference, AUC {interval}, {place} the bound of {limit:g}",)
