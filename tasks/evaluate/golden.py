"""The golden cases, answered by the model that is evaluated."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from retune.config.golden import Golden
from retune.evaluation import golden_cases
from retune.models.classifier import Predictions
from retune.system import stage_io


def ask(
    golden_config: Golden, predict: Callable[[list[str]], Predictions], learned: Sequence[Path]
) -> list[golden_cases.CaseResult]:
    """What `predict` answers to each case, failed ones first, which are printed too.

    learned: files of rows that were learned from. A case whose text is among them is named, and counts all the same: it
    must not go wrong either way. But it shows less, since the model may only remember it.
    """
    cases = golden_cases.read(golden_config)
    if not cases:
        return []
    with stage_io.heartbeat(f"asking {len(cases):,} golden cases"):
        answers = predict([case.text for case in cases])
    parts = [pq.read_table(path, columns=["id", "text"]).to_pandas() for path in learned]
    ids = golden_cases.ids_by_case(cases, pd.concat(parts, ignore_index=True)) if parts else {}
    results = golden_cases.results(cases, answers.labels, answers.confidence.tolist(), ids)
    failed = [result for result in results if result.problem]
    print(f"golden cases: {len(results) - len(failed)} of {len(results)} pass", flush=True)
    for result in failed:
        print(f"  failed: {result.name}: {result.problem}", flush=True)
    for result in results:
        if result.rows:
            print(f"warning: the golden case {result.name} was learned: row {', '.join(result.rows)}", flush=True)
    return results
