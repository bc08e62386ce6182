"""Which Prefect run this is, and the outcome of a run: for the flows and the packages beside them."""

from dataclasses import dataclass

from prefect.runtime import flow_run

from retune.promotion.gate import Decision
from retune.registry import versions


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run: the version, whether it is new, and the decision about it."""

    version: versions.Version
    new: bool
    decision: Decision


def prefect_run() -> str:
    return str(flow_run.get_id() or "none")


def run_name() -> str:
    return str(flow_run.get_name() or "run")
