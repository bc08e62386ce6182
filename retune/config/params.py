"""The typed shape of params.yaml: one frozen class a section, and `load`.

No value lives here, so this module changes no result and is no dependency of any stage. YAML reads `2e-4`
as a word: write `2.0e-4`; the type refuses the other.
"""

import json
import re
import reprlib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform, get_type_hints

import yaml
from pydantic import AfterValidator, ConfigDict, Discriminator, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from retune.config import renames
from retune.errors import WrongUse

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Share = Annotated[float, Field(ge=0, lt=1)]
Limit = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Confidence = Annotated[float, Field(gt=0.5, lt=1)]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
# GTO takes these names and no others, and the history is written in its tags.
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?$", max_length=100)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
BaseName = Annotated[str, Field(pattern=r"^(package:[A-Za-z0-9._-]+|folder:.+|hub:[^@\s]+@[0-9a-f]{40})$")]
OnMissing = Literal["refuse", "warn"]
Given = Annotated[str, Field(pattern=r"\S")]  # no empty word
KINDS = ("files", "http", "sql")  # of sources
Event = Literal["promoted", "held", "refused", "failed", "recovered", "unhealthy", "awaiting"]

T = TypeVar("T")


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"{path!r} is no absolute path, and a run works in a folder of its own: begin it with /")
    return path


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("name the environment variable that holds it, such as DESK_TOKEN; not the secret itself")
    return name


AbsolutePath = Annotated[str, AfterValidator(_absolute)]
Variable = Annotated[str, AfterValidator(_variable)]


@dataclass_transform(frozen_default=True)
def section(cls: type[T]) -> type[T]:
    return dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))(cls)  # type: ignore[return-value]


@section
class Trigger:
    new_rows: Count
    on_change: bool
    max_age_days: Annotated[int, Field(ge=0)]
    on_forgotten: bool
    incremental: bool
    keep_failed_days: NotNegative


@section
class Curate:
    min_chars: Count
    max_chars: Count
    min_label_rows: Count


@section
class CurateWriting:
    min_chars: Count
    max_chars: Count


@section
class ReplayFile:
    path: AbsolutePath
    sha256: Sha256


def _files_once(files: list[ReplayFile]) -> list[ReplayFile]:
    names = [Path(file.path).name for file in files]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two files are called {twice[0]!r}, and an example is known by its file's name: rename one")
    return files


@section
class CurateAnswers(CurateWriting):  # of task instruct: its replay examples are prompts with one answer
    replay: Annotated[list[ReplayFile], AfterValidator(_files_once)]


@section
class Preflight:
    max_truncated_share: Limit
    examples: Count


@section
class ValidateWriting:
    min_rows: Count
    max_rows: Count
    min_chars: Count
    max_chars: Count
    max_duplicate_share: Limit
    max_rejected_share: Limit
    max_leaked_rows: Annotated[int, Field(ge=0)]
    preflight: Preflight


@section
class Validate:
    min_rows: Count
    max_rows: Count
    min_labels: Annotated[int, Field(ge=2)]
    labels: list[str]
    min_rows_per_label: Count
    min_chars: Count
    max_chars: Count
    max_duplicate_share: Limit
    max_rejected_share: Limit
    max_leaked_rows: Annotated[int, Field(ge=0)]


@section
class MissingLabel:
    train: OnMissing
    val: OnMissing
    test: OnMissing


@section
class Split:
    seed: Seed
    val_share: Annotated[float, Field(gt=0, lt=0.5)]
    test_share: Annotated[float, Field(gt=0, lt=0.5)]
    missing_label: MissingLabel


@section
class SplitWriting:
    seed: Seed
    val_share: Annotated[float, Field(gt=0, lt=0.5)]
    test_share: Annotated[float, Field(gt=0, lt=0.5)]


@section
class Base:
    name: BaseName
    sha256: Sha256


@section
class Probe:
    c: Positive
    max_iterations: Count


@section
class Full:
    learning_rate: Positive


@section
class Lora:
    learning_rate: Positive
    rank: Count
    alpha: Count
    dropout: Share


@section
class Incremental:
    replay_share: Annotated[float, Field(gt=0, le=1)]
    epochs: Count
    learning_rate_factor: Positive


@section
class Train:
    method: Literal["probe", "lora", "full"]
    base: Base
    seed: Seed
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["auto", "fp32", "bf16"]
    max_tokens: Annotated[int, Field(ge=8)]
    probe: Probe
    full: Full
    lora: Lora
    head_learning_rate: Positive
    epochs: Count
    batch_size: Count
    accumulate: Count
    schedule: Literal["linear", "cosine", "constant"]
    warmup_share: Share
    weight_decay: NotNegative
    dropout: Share
    max_grad_norm: Positive
    class_weights: Literal["none", "balanced"]
    patience: Count
    refit: bool
    incremental: Incremental
    checkpoint_seconds: NotNegative


@section
class DecoderLora:
    learning_rate: Positive
    rank: Count
    alpha: Count
    dropout: Share
    rank_stabilised: bool
    base_precision: Literal["bf16", "fp8"]


@section
class PromptTuning:
    learning_rate: Positive
    virtual_tokens: Count


@section
class Parallel:
    processes: Count
    hosts: Count
    strategy: Literal["ddp", "fsdp"]


@section
class InstructTrain:
    method: Literal["full", "lora", "dora", "qlora", "ia3", "prompt"]
    base: Base
    seed: Seed
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["auto", "fp32", "bf16"]
    deterministic: bool
    template: Literal["tokenizer", "chatml", "plain"]
    max_tokens: Annotated[int, Field(ge=8)]
    too_long: Literal["drop", "cut_prompt"]
    replay_share: Share
    full: Full
    lora: DecoderLora
    ia3: Full
    prompt: PromptTuning
    epochs: Count
    batch_tokens: Count
    accumulate: Count
    schedule: Literal["linear", "cosine", "constant"]
    warmup_share: Share
    weight_decay: NotNegative
    max_grad_norm: Positive
    neftune_alpha: NotNegative
    patience: Count
    refit: bool
    gradient_checkpointing: bool
    compile: bool
    parallel: Parallel
    checkpoint_seconds: NotNegative


@section
class PreferTrain:
    method: Literal["dpo", "kto"]
    base: Base
    beta: Positive
    seed: Seed
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["auto", "fp32", "bf16"]
    deterministic: bool
    template: Literal["tokenizer", "chatml", "plain"]
    max_tokens: Annotated[int, Field(ge=8)]
    too_long: Literal["drop", "cut_prompt"]
    lora: DecoderLora
    epochs: Count
    batch_tokens: Count
    accumulate: Count
    schedule: Literal["linear", "cosine", "constant"]
    warmup_share: Share
    weight_decay: NotNegative
    max_grad_norm: Positive
    patience: Count
    refit: bool
    gradient_checkpointing: bool
    compile: bool
    parallel: Parallel
    checkpoint_seconds: NotNegative


@section
class RetentionSet:
    name: Word
    path: AbsolutePath
    by_length: bool


@section
class Judge:
    url: str
    model: str
    key_env: Variable | None
    criterion: Given
    timeout_seconds: Positive
    attempts: Count
    pause_seconds: NotNegative


@section
class InstructEvaluate:
    batch_size: Count
    generate_rows: Count
    bootstrap: Annotated[int, Field(ge=100)]
    confidence: Confidence
    seed: Seed
    examples: Count
    json_schema: str
    retention: list[RetentionSet]
    judge: Judge


@section
class Evaluate:
    batch_size: Count
    bootstrap: Annotated[int, Field(ge=100)]
    confidence: Confidence
    seed: Seed
    bins: Count
    examples: Count


@section
class Estimate:
    cpu_watts: NotNegative
    gpu_watts: NotNegative
    price_per_kwh: NotNegative
    price_per_hour: NotNegative
    currency: Word


@section
class Register:
    name: ModelName
    reload_rows: Count
    tolerance: Positive
    estimate: Estimate


@section
class Latency:
    texts: Count
    batch_size: Count
    passes: Count


@section
class Promote:
    metric: Literal["accuracy", "macro_f1"]
    margin_over_base: Share
    margin_over_champion: Share
    confidence: Confidence
    min_detectable_gain: Annotated[float, Field(gt=0, lt=1)]
    power: Confidence
    max_label_recall_loss: Limit
    max_slice_loss: Limit
    slices: list[Literal["source", "known"]]
    calibration_error_rise: Limit
    calibration_bins: Count
    latency_ratio: Positive
    bootstrap: Annotated[int, Field(ge=100)]
    seed: Seed
    approval: bool


@section
class PromoteWriting:
    metric: Literal["preferred", "perplexity", "rouge_l", "bleu", "chrf", "exact_match"]
    margin_over_base: Share
    margin_over_champion: Share
    confidence: Confidence
    min_detectable_gain: Annotated[float, Field(gt=0, lt=1)]
    power: Confidence
    max_slice_loss: Limit
    slices: list[Literal["source", "known"]]
    max_retention_loss: Limit
    latency_ratio: Positive
    bootstrap: Annotated[int, Field(ge=100)]
    seed: Seed
    approval: bool


@section
class PromoteAnswers(PromoteWriting):  # of task instruct: its rows have no second answer to prefer the first to
    metric: Literal["perplexity", "rouge_l", "bleu", "chrf", "exact_match"]


def _address(url: str) -> str:
    # Not told back in the message: what is wrong with it may be that it holds a password.
    if not re.fullmatch(r"https?://[^/\s@?#]+[^\s@#]*", url):
        raise ValueError(
            "write http(s)://HOST/PATH, without user, password or fragment: a token belongs into a variable"
        )
    return url


def _asks_from_cursor(query: str) -> str:
    if not re.match(r"\s*(select|with)\b", query, re.IGNORECASE):
        raise ValueError(f"{reprlib.repr(query)} is no question: write one SELECT (or WITH ... SELECT)")
    if not re.search(r"(?<![:\w]):cursor\b", query):
        raise ValueError("the query asks for every row each time: compare a column, such as `changed >= :cursor`")
    return query


Address = Annotated[str, AfterValidator(_address)]
Query = Annotated[str, AfterValidator(_asks_from_cursor)]


@section
class Columns:
    text: Given
    label: Given
    id: Given | None
    group: Given | None
    split: Given | None


@section
class NamedColumns:
    text: Given
    label: Given
    id: Given
    group: Given | None
    split: Given | None


@section
class FileSource:
    kind: Literal["files"]
    name: Word
    path: AbsolutePath
    columns: Columns
    licence: Given | None
    collected: Given | None


@section
class EndpointCursor:
    param: Given
    field: Given
    start: str | int | float | None


@section
class EndpointSource:
    kind: Literal["http"]
    name: Word
    url: Address
    cursor: EndpointCursor
    authorization_env: Variable | None
    columns: NamedColumns
    licence: Given | None
    collected: Given | None


@section
class DatabaseSource:
    kind: Literal["sql"]
    name: Word
    url_env: Variable
    query: Query
    cursor_column: Given
    cursor_type: Literal["number", "text", "time"]
    cursor_start: str | int | float
    columns: NamedColumns
    licence: Given | None
    collected: Given | None


Source = Annotated[FileSource | EndpointSource | DatabaseSource, Discriminator("kind")]


def _named_once(sources: list[Source]) -> list[Source]:
    names = [source.name for source in sources]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two sources are called {twice[0]!r}, and each has a cursor under its name: rename one")
    return sources


@section
class Fetch:
    settle_seconds: NotNegative
    timeout_seconds: Positive
    attempts: Count
    pause_seconds: NotNegative
    max_megabytes: Count
    sources: Annotated[list[Source], AfterValidator(_named_once)]


@section
class Notify:
    events: list[Event]
    timeout_seconds: Positive


@section
class Classify:
    task: Literal["classify"]
    trigger: Trigger
    fetch: Fetch
    curate: Curate
    validate: Validate
    split: Split
    train: Train
    evaluate: Evaluate
    register: Register
    latency: Latency
    promote: Promote
    notify: Notify


@section
class Instruct:
    task: Literal["instruct"]
    trigger: Trigger
    fetch: Fetch
    curate: CurateAnswers
    validate: ValidateWriting
    split: SplitWriting
    train: InstructTrain
    evaluate: InstructEvaluate
    register: Register
    latency: Latency
    promote: PromoteAnswers
    notify: Notify


@section
class Prefer:
    task: Literal["prefer"]
    trigger: Trigger
    fetch: Fetch
    curate: CurateWriting
    validate: ValidateWriting
    split: SplitWriting
    train: PreferTrain
    evaluate: InstructEvaluate
    register: Register
    latency: Latency
    promote: PromoteWriting
    notify: Notify


Params = Classify | Instruct | Prefer
TASKS: dict[str, type[Params]] = {"classify": Classify, "instruct": Instruct, "prefer": Prefer}


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check the whole file. Raises WrongUse that names each wrong key by its dotted path."""
    return parse(_read(path))


def load_notify(path: Path = Path("params.yaml")) -> Notify:
    """The section `notify` alone, whatever stands beside it. Raises WrongUse if not even that can be read."""
    return parse_section(Notify, at(renames.upgrade(_read(path)), "notify"))


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise WrongUse(f"there is no {path} here: run this in the folder that holds it") from None
    except (yaml.YAMLError, ValueError) as error:
        raise WrongUse(f"{path} is not YAML: {error}") from None


def parse(values: Any) -> Params:
    """Check values by their types. Raises WrongUse that names each wrong key, and each old name with its new one."""
    renames.refuse_outdated(values)
    try:
        return TypeAdapter(_kind(values)).validate_json(_json(values))
    except ValidationError as error:
        told = [_explain(problem) for problem in error.errors(include_url=False)]
        raise WrongUse("params.yaml: " + "; ".join(told)) from None


def _json(values: Any) -> str:
    """Strict mode takes a list or a number of Python only from the exact type, but any from JSON. YAML makes dates of
    words like 2026-11-22; `str` makes them words again, but a key must be a word already."""
    try:
        return json.dumps(values, default=str)
    except TypeError as error:
        raise WrongUse(f"params.yaml: {error}") from None


def _kind(values: Any) -> type[Params]:
    """The shape of the file hangs on its task: what is asked of a model that writes is not asked of a classifier."""
    named = values.get("task") if isinstance(values, dict) else None
    if named not in TASKS:
        raise WrongUse(f"params.yaml: task is {named!r}: write one of {', '.join(TASKS)}")
    return TASKS[named]


def parse_section(kind: type[T], values: Any) -> T:
    """One section as a record holds it. Raises WrongUse if it is not what this version of Retune knows."""
    try:
        return TypeAdapter(kind).validate_json(_json(values))
    except ValidationError as error:
        told = [_explain(problem) for problem in error.errors(include_url=False)]
        raise WrongUse("; ".join(told)) from None


def _explain(problem: Any) -> str:
    where = _dotted(problem["loc"]) or "the file"
    if problem["type"] == "missing":
        return f"{where} is missing"
    if problem["type"] == "unexpected_keyword_argument":
        return f"{where} is no parameter of Retune (a typing error?)"
    if problem["type"].startswith("union_tag_"):
        return f"{where}.kind is {problem['input'].get('kind')!r}: write one of {', '.join(KINDS)}"
    if problem["type"] == "value_error":
        return f"{where}: {problem['ctx']['error']}"
    hint = ""
    if problem["type"] == "float_type" and isinstance(problem["input"], str):
        hint = "; YAML reads 2e-4 as a word, write 2.0e-4"
    return f"{where} is {problem['input']!r}: {problem['msg'].lower()}{hint}"


def _dotted(loc: tuple[str | int, ...]) -> str:
    """The path as it stands in the file: after the place in a list of kinds pydantic also says which kind it took."""
    before = (None, *loc)
    kept = [part for last, part in zip(before, loc, strict=False) if not (isinstance(last, int) and part in KINDS)]
    return ".".join(str(part) for part in kept)


def at(values: Any, path: str) -> Any:
    """The value at a dotted path, as dvc.yaml names what a stage depends on; None if there is none."""
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
