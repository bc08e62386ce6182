"""params.yaml as a whole: one frozen type a task, and `load`, which refuses what does not fit it.

YAML reads `2e-4` as a word: write `2.0e-4`; the type refuses the other.
"""

import difflib
import json
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from retune.config import renames
from retune.config.classification import Curate, Evaluate, Promote, Split, Train, Validate
from retune.config.common import Ingest, Latency, Notify, Register, SplitShares, Trigger
from retune.config.generation import (
    GenerationCurate,
    GenerationEvaluate,
    GenerationPromote,
    GenerationValidate,
    InstructCurate,
    InstructPromote,
    InstructTrain,
    PreferTrain,
)
from retune.config.rollout import ROLLOUT, Rollout
from retune.config.serving import Feedback, Monitor, Serve
from retune.config.sources import KINDS, Fetch
from retune.config.types import about, section
from retune.errors import WrongUse

T = TypeVar("T")

# What a section that differs by task is for.
TASK = about("The task; `retune task NAME` writes the whole file for another one.")
VALIDATE = about("What the curated rows must fulfil before training.")
SPLIT = about("How rows are split into train, validation and test.")
TRAIN = about("How the model is trained.")
EVALUATE = about("How the model is evaluated on the test rows.")
PROMOTE = about("The gate: what a candidate needs to become the champion.")


@section
class Shared:
    """The sections that are the same for every task."""

    trigger: Annotated[Trigger, about("When `retune retrain` trains: something has changed and any of these holds.")]
    fetch: Annotated[Fetch, about("Where new records come from.")]
    ingest: Annotated[Ingest, about("What is accepted of a source.")]
    register: Annotated[Register, about("The registered model and the check of its loaded copy.")]
    latency: Annotated[
        Latency, about("How candidate and champion are timed in turn before a candidate becomes the champion.")
    ]
    serve: Annotated[Serve, about("How registered versions answer requests.")]
    rollout: Annotated[Rollout, ROLLOUT]
    feedback: Annotated[Feedback, about("What people say of answers, and how it is reviewed.")]
    monitor: Annotated[Monitor, about("How what is served is watched.")]
    notify: Annotated[Notify, about("Which events send a message.")]


@section
class Classify(Shared):
    """A classifier."""

    task: Annotated[Literal["classify"], TASK]
    curate: Annotated[Curate, about("Which records are rejected.")]
    validate: Annotated[Validate, VALIDATE]
    split: Annotated[Split, SPLIT]
    train: Annotated[Train, TRAIN]
    evaluate: Annotated[Evaluate, EVALUATE]
    promote: Annotated[Promote, PROMOTE]


@section
class Generation(Shared):
    """The sections that are the same for both tasks that train a causal language model."""

    validate: Annotated[GenerationValidate, VALIDATE]
    split: Annotated[SplitShares, SPLIT]
    evaluate: Annotated[GenerationEvaluate, EVALUATE]


@section
class Instruct(Generation):
    """A causal language model that learns replies."""

    task: Annotated[Literal["instruct"], TASK]
    curate: Annotated[InstructCurate, about("Which records are rejected, and which examples are replayed.")]
    train: Annotated[InstructTrain, TRAIN]
    promote: Annotated[InstructPromote, PROMOTE]


@section
class Prefer(Generation):
    """A causal language model that learns from pairs which of two answers is better."""

    task: Annotated[Literal["prefer"], TASK]
    curate: Annotated[GenerationCurate, about("Which records are rejected.")]
    train: Annotated[PreferTrain, TRAIN]
    promote: Annotated[GenerationPromote, PROMOTE]


Params = Classify | Instruct | Prefer
TASKS: dict[str, type[Params]] = {"classify": Classify, "instruct": Instruct, "prefer": Prefer}


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check the whole file. Raises WrongUse that names each wrong key by its dotted path."""
    return parse(read(path))


def load_notify(path: Path = Path("params.yaml")) -> Notify:
    """The section `notify`, without a check of the other sections. Raises WrongUse if it cannot be read."""
    return parse_section(Notify, at(renames.upgrade(read(path)), "notify"))


def read(path: Path = Path("params.yaml")) -> Any:
    """The values of the file, unchecked. Raises WrongUse if the file is missing or is not YAML."""
    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise WrongUse(f"This folder has no {path}: run this in the folder that holds it") from None
    except (yaml.YAMLError, ValueError) as error:
        raise WrongUse(f"{path} is not YAML: {error}") from None


def parse(values: Any) -> Params:
    """Check values by their types. Raises WrongUse that names each wrong key, and each old name with its new one."""
    renames.refuse_outdated(values)
    kind = type_of(values)
    try:
        return TypeAdapter(kind).validate_json(_json(values))
    except ValidationError as error:
        raise WrongUse(f"params.yaml: {_explain(error, kind)}") from None


def type_of(values: Any) -> type[Params]:
    """The type of a whole file, by its task. Raises WrongUse for another task."""
    task = values.get("task") if isinstance(values, dict) else None
    if task not in TASKS:
        raise WrongUse(f"params.yaml: task is {task!r}: write one of {', '.join(TASKS)}")
    return TASKS[task]


def parse_section(kind: type[T], values: Any) -> T:
    """One section as a record holds it. Raises WrongUse if it does not fit the type."""
    try:
        return TypeAdapter(kind).validate_json(_json(values))
    except ValidationError as error:
        raise WrongUse(_explain(error, kind)) from None


def _json(values: Any) -> str:
    """The values as JSON, since pydantic's strict mode accepts Python lists and numbers only of the exact type.

    YAML reads 2026-11-22 as a date; `str` makes it text again. A key must be text.
    """
    try:
        return json.dumps(values, default=str)
    except TypeError as error:
        raise WrongUse(f"params.yaml: {error}") from None


def _explain(error: ValidationError, kind: type[Any]) -> str:
    return "; ".join(_explain_problem(problem, kind) for problem in error.errors(include_url=False))


def _explain_problem(problem: Any, kind: type[Any]) -> str:
    where = _dotted(problem["loc"]) or "the file"
    if problem["type"] == "missing":
        return f"{where} is missing{renames.remedy(where)}"
    if problem["type"] == "unexpected_keyword_argument":
        return f"{where} is not a parameter of Retune{did_you_mean(where, paths(kind))}"
    if problem["type"].startswith("union_tag_"):
        return f"{where}.kind is {problem['input'].get('kind')!r}: write one of {', '.join(KINDS)}"
    if problem["type"] == "value_error":
        return f"{where}: {problem['ctx']['error']}"
    hint = ""
    if problem["type"] == "float_type" and isinstance(problem["input"], str):
        hint = "; YAML reads 2e-4 as a word, write 2.0e-4"
    return f"{where} is {problem['input']!r}: {problem['msg'].lower()}{hint}"


def _dotted(loc: tuple[str | int, ...]) -> str:
    """The path as it is in the file: after an index into the sources pydantic also names the kind that it took."""
    previous = (None, *loc)
    parts = [part for last, part in zip(previous, loc, strict=False) if not (isinstance(last, int) and part in KINDS)]
    return ".".join(str(part) for part in parts)


def did_you_mean(name: str, names: list[str]) -> str:
    """The end of a message that suggests a close name; empty if no name is close."""
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def paths(kind: type[Any]) -> list[str]:
    """The dotted path of every parameter and section below a type, in order."""
    names = []
    for name, hint in get_type_hints(kind).items():
        names.append(name)
        if isinstance(hint, type) and is_dataclass(hint):
            names += [f"{name}.{path}" for path in paths(hint)]
    return names


def is_section(values: Any, path: str) -> bool:
    """Whether the dotted path has parameters below it; a parameter may be a mapping too."""
    return any(each.startswith(f"{path}.") for each in paths(type_of(values)))


def at(values: Any, path: str) -> Any:
    """The value at a dotted path; None if there is none."""
    for key in path.split("."):
        values = values.get(key) if isinstance(values, dict) else None
    return values


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted path -> value; an empty section is a value."""
    if not isinstance(values, dict) or not values:
        return {prefix.rstrip("."): values} if prefix else {}
    return {name: value for key, part in values.items() for name, value in flat(part, f"{prefix}{key}.").items()}


def sections(task: str) -> dict[str, Any]:
    """The type of each section of a task's file."""
    return {name: kind for name, kind in get_type_hints(TASKS[task]).items() if name != "task"}
