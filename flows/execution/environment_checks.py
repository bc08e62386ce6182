"""What a run needs of the machine and the folder around it: one list, in the order in which a person would mend it.

`retune plan`, `retune run` and `retune retrain` go through it before any stage and stop at the first check that fails;
`retune doctor` shows them all. A check says in a few words what it saw, or raises a RetuneError: what is wrong, the
value, what to do. To add one: a function of the parameters, and its line in CHECKS.
"""

from collections.abc import Callable
from dataclasses import dataclass

from flows.execution import raw_data
from retune.config.generation import GenerationEvaluate
from retune.config.params import Params
from retune.data import replay
from retune.evaluation import answer_measure, golden_cases, multiple_choice, out_of_scope, paraphrases
from retune.preflight import base_check
from retune.registry import backend
from retune.system import dvc_store, git


@dataclass(frozen=True)
class EnvironmentCheck:
    name: str  # in the table of `retune doctor`
    look: Callable[[Params], str]
    reads_rows: bool = False  # it looks into data/raw, which a retraining checks out into a worktree of its own


def require(config: Params) -> None:
    """All checks that need no rows in data/raw, before anything is computed. Raises the error of the first to fail."""
    _look(config, reads_rows=False)


def require_rows(config: Params) -> None:
    """The other checks, once `recovery` has finished what a killed process left."""
    _look(config, reads_rows=True)


def _look(config: Params, reads_rows: bool) -> None:
    for check in CHECKS:
        if check.reads_rows == reads_rows:
            check.look(config)


def _git(_: Params) -> str:
    return f"at commit {git.require_commit()[:7]}"


def _merge(_: Params) -> str:
    raw_data.require_merged()
    raw_data.require_no_links()
    return "no file is in a merge conflict, no folder of the pipeline is a link"


def _records(_: Params) -> str:
    raw_data.require_followed()
    return "data/raw is what data/raw.dvc names"


def _remote(_: Params) -> str:
    address = dvc_store.require_remote()
    return f"{address} answers" if address else "no default DVC remote: the bytes stay on this machine"


def _given_files(config: Params) -> str:
    replay.check(replay.files_of(config))  # DVC knows them by the hash in params.yaml, and would see no change
    multiple_choice.check(config)
    golden_cases.read(config.evaluate.golden)
    for file in config.evaluate.robustness.paraphrases:
        paraphrases.read(file)
    if isinstance(config.evaluate, GenerationEvaluate):
        answer_measure.require(config.evaluate)
    else:
        out_of_scope.read(config.evaluate.automation.out_of_scope)
    return "the files that params.yaml names are there, with their hashes"


def _address(_: Params) -> str:
    return f"runs and versions go to {backend.address()}"


def _tokens(config: Params) -> str:
    return base_check.require(config.train)


CHECKS = (
    EnvironmentCheck("git", _git),
    EnvironmentCheck("merge", _merge),
    EnvironmentCheck("records", _records, reads_rows=True),
    EnvironmentCheck("files", _given_files),
    EnvironmentCheck("tracking", _address),
    EnvironmentCheck("tokens", _tokens),
    EnvironmentCheck("remote", _remote),
)
