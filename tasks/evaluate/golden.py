"""The golden cases, answered by the model that is evaluated."""

from collections.abc import Callable

from retune.config.golden import Golden
from retune.evaluation import golden_cases
from retune.models.classifier import Predictions
from retune.system import stage_io


def ask(golden_config: Golden, predict: Callable[[list[str]], Predictions]) -> list[golden_cases.CaseResult]:
    """What `predict` answers to each case, failed ones first, which are printed too."""
    cases = golden_cases.read(golden_config)
    if not cases:
        return []
    with stage_io.heartbeat(f"asking {len(cases):,} golden cases"):
        answers = predict([case.text for case in cases])
    results = golden_cases.results(cases, answers.labels, answers.confidence.tolist())
    failed = [result for result in results if result.problem]
    print(f"golden cases: {len(results) - len(failed)} of {len(results)} pass", flush=True)
    for result in failed:
        print(f"  failed: {result.name}: {result.problem}", flush=True)
    return results
