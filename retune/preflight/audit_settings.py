"""The parameters by which validation audits tokens and that DVC does not know as its own.

`dvc.yaml` is one for all tasks, and DVC refuses a parameter that a params.yaml lacks, as that of a classifier lacks
these. So validate.json says with which values it came out, and the flow runs the stage again where they are others.
"""

import json
from pathlib import Path
from typing import Any

from retune.config import params

NAMES = ("train.template", "train.too_long", "train.turns", "train.method", "promote.metric")
KEY = "audited_with"  # in validate.json


def of(values: Any) -> dict[str, Any]:
    """Those that the values of a params.yaml have, by dotted path; none for a classifier, whose texts need none."""
    present = {name: params.at(values, name) for name in NAMES}
    return {name: value for name, value in present.items() if value is not None} if present["train.template"] else {}


def changes(values: Any, report: Path) -> list[str]:
    """From what to what they changed since `report`, a validate.json, was written; none where it does not say."""
    try:
        before = json.loads(report.read_text("utf-8"))[KEY]
    except (OSError, ValueError, KeyError):
        return []
    now = of(values)
    return [
        f"{name}: {before[name]} → {now[name]}" for name in NAMES if before.get(name) != now.get(name, before.get(name))
    ]
