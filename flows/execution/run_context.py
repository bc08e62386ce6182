"""Which Prefect run this is, and what comes of a run: known to the flows and to the packages beside them."""

from dataclasses import dataclass

from prefect.runtime import flow_run

from retune.promotion.gate import Decision
from retune.registry import versions


@dataclass(frozen=True)
class Outcome:
    """What came of a run: the version, whether it is new, and what was decided about it."""

    version: versions.Version
    new: bool
    decision: Decision


def prefect_run() -> str:
    return str(flow_run.get_id() or "none")


def run_name() -> str:
    return str(flow_run.get_name() or "run")
