"""A model that writes and gives back word for word what it learned is held where params say so, the first one too.

It counts by the lower end of the interval, and only what is surely more than the model writes word for word of rows
that it never saw: a form letter is no memory. It does not make a candidate `worse` than the champion, which learned
from other rows.

The reasons are part of a record, and `retune verify` compares them to the letter: a changed word makes the gate of each
older version fail its check.
"""

from collections.abc import Mapping
from typing import Any

from retune.config.generation import GenerationPromote
from retune.evaluation.verbatim import HALF, HELD_OUT, PROMPT
from retune.promotion.guardrails import Guardrail, PromoteConfig, Results

KIND, NO_BOUND = "verbatim", 1.0


def check(measures: Mapping[str, Any], promote_config: PromoteConfig) -> Results:
    """measures: of details.json. Nothing without a bound."""
    if not isinstance(promote_config, GenerationPromote) or promote_config.max_verbatim_share >= NO_BOUND:
        return (), ()
    limit = promote_config.max_verbatim_share
    guardrails, reasons = [], []
    for name, start in ((PROMPT, "the prompt"), (HALF, "half of the answer")):
        measure, unseen = measures.get(name), measures.get(name + HELD_OUT)
        if measure is None:
            reasons.append(f"no learned answer was long enough to be given back from {start}; the bound is {limit:g}")
            continue
        violated = measure["low"] > max(limit, unseen["high"] if unseen else 0.0)
        guardrails.append(Guardrail(KIND, name, measure["n"], measure["value"], limit, float(violated), violated))
        others = f", {unseen['value']:.4f} of {unseen['n']} never seen" if unseen else ""
        interval = f"{measure['value']:.4f} [{measure['low']:.4f}, {measure['high']:.4f}]"
        place = "surely above" if violated else "not surely above"
        counted = f"{interval} of {measure['n']} learned answers{others}"
        reasons.append(f"given back word for word from {start}: {counted}, {place} the bound of {limit:g}")
    return tuple(guardrails), tuple(reasons)
