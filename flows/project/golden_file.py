"""The file of golden cases and its hash in params.yaml, written together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.project import params_editor
from retune.config import params
from retune.errors import WrongUse
from retune.evaluation import golden_cases
from retune.evaluation.golden_cases import Case, CaseResult
from retune.models.classifier import Predictions
from retune.system.files import file_sha256, write_bytes

HASH = "evaluate.golden.sha256"
Predict = Callable[[list[str]], Predictions]


@dataclass(frozen=True)
class Addition:
    """A new case, what the version answers to it now, and how many cases there are."""

    path: Path
    result: CaseResult
    cases: int


def read() -> list[Case]:
    return golden_cases.read(params.load().evaluate.golden)


def new_case(cells: Mapping[str, str], labels: list[str] | None) -> Case:
    """The case of these cells, if it fits beside those of the file. labels: of a classifier; None for one that writes.

    Raises Refused for a duplicate or a contradiction, WrongUse for a label that the version cannot give.
    """
    existing, where = read(), "this case"
    case = golden_cases.case_of(cells, [each.name for each in existing], where)
    if case.label and labels is not None and case.label.strip() not in labels:
        hint = params.did_you_mean(case.label, labels) or f": its labels are {', '.join(labels[:20])}"
        raise WrongUse(f"the version has no label {case.label!r}{hint}")
    golden_cases.require_new(case, existing, where)
    return case


def add(case: Case, predict: Predict) -> Addition:
    """Write the case behind the others and the new hash into params.yaml: the file first, then its hash."""
    golden_config, answers = params.load().evaluate.golden, predict([case.text])
    if not golden_config.path:
        raise WrongUse("evaluate.golden.path is empty, so no file holds golden cases: write tests/golden.csv there")
    path = Path(golden_config.path)
    content = golden_cases.with_case(path.read_bytes(), case)
    cases = golden_cases.parse(content, str(path))
    write_bytes(path, content)
    params_editor.write([f"{HASH}={file_sha256(path)}"])
    return Addition(path, ask([case], answers)[0], len(cases))


def ask(cases: list[Case], answers: Predictions) -> list[CaseResult]:
    return golden_cases.results(cases, answers.labels, answers.confidence.tolist())


def as_json(case: Case) -> dict[str, Any]:
    return {"name": case.name, "text": case.text, "expected": case.expected, **_expectation(case)}


def _expectation(case: Case) -> dict[str, str]:
    return {name: value for name in golden_cases.EXPECTATIONS if (value := getattr(case, name))}
