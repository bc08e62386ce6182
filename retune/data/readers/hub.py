"""Datasets through `datasets`: of the hub, or a folder in its layout."""

import os
from typing import Any

from retune.data.readers.table import SIDE_OF, Table
from retune.errors import Broken, WrongUse


def read(dataset: str, split: str) -> Table:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import datasets

    if not dataset.strip("/"):
        raise WrongUse(f"hf:{dataset} does not name a dataset: use hf:DATASET[:SPLIT] or hf:FOLDER")
    try:
        dataset_or_splits = datasets.load_dataset(dataset, split=split or None)
    except (FileNotFoundError, ValueError, RuntimeError) as error:
        raise WrongUse(f"hf:{dataset}: {error}") from None
    except (OSError, datasets.exceptions.DatasetsError) as error:
        raise Broken(f"hf:{dataset} could not be fetched: {error}. Try again, or give a local folder") from None
    parts = {split: dataset_or_splits} if split else dict(dataset_or_splits)
    if len(parts) > 1 and (other := [side for side in parts if side not in SIDE_OF]):
        raise WrongUse(
            f"hf:{dataset} has a split {other[0]!r}, which is not train, val or test: choose one of {', '.join(parts)}"
            f" with hf:{dataset}:SPLIT"
        )
    sides = [SIDE_OF[side] for side, part in parts.items() for _ in range(len(part))] if len(parts) > 1 else []
    names = next(iter(parts.values())).column_names
    places = range(1, sum(map(len, parts.values())) + 1)
    return Table(
        f"hf:{dataset}",
        names,
        places,
        lambda name: [value for part in parts.values() for value in _hub_column(part, name)],
        "row",
        sides,
    )


def _hub_column(part: Any, name: str) -> list[Any]:
    values = part.select_columns([name]).with_format("arrow")[:].column(name).to_pylist()
    labels = getattr(part.features[name], "names", None)  # a ClassLabel: numbers that have names; -1 has none
    return [labels[value] if value is not None and value >= 0 else None for value in values] if labels else values
