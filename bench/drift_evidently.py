"""The peer of bench/drift.py, run by a Python that has Evidently: a folder of windows in, shares of alarms out."""

import json
import sys
import warnings
from collections import defaultdict
from pathlib import Path

import pandas as pd

warnings.filterwarnings("ignore")


def main() -> None:
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    shape = DataDefinition(
        categorical_columns=["predicted"], numerical_columns=["confidence", "length"], text_columns=["text"]
    )
    outcomes = defaultdict(list)
    for path in sorted(Path(sys.argv[1]).glob("*-before.parquet")):
        frames = [pd.read_parquet(path.with_name(path.name.replace("before", part))) for part in ("now", "before")]
        report = Report([DataDriftPreset()]).run(*(Dataset.from_pandas(frame, shape) for frame in frames))
        count = next(each["value"] for each in report.dict()["metrics"] if "DriftedColumnsCount" in each["metric_name"])
        print(path.name, file=sys.stderr, flush=True)
        outcomes[path.name.rsplit("-", 2)[0]].append((count["count"] > 0, count["share"] >= 0.5))
    shares = {
        name: {"any": sum(any_ for any_, _ in rows) / len(rows), "dataset": sum(all_ for _, all_ in rows) / len(rows)}
        for name, rows in outcomes.items()
    }
    print(json.dumps(shares))


if __name__ == "__main__":
    main()
