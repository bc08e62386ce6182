"""What made one version: lineage.json, in the shape of record.schema.json. The adapter of jsonschema.

Written once beside the model and never changed. The schema says what each field means; the types here name the same
fields, for records of every schema version.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from retune.errors import Broken, Refused
from retune.system.stage_io import write_json

FILE = "lineage.json"
CHAMPION_SAID = "champion_predictions.parquet"  # beside it: what the gate compared the candidate with
SCHEMA = Path(__file__).with_name("record.schema.json")


class Started(TypedDict):
    by: str
    command: str
    why: list[str]
    prefect_run: str
    mlflow_run: str


class Dataset(TypedDict):
    md5: str
    rows: int


class Source(TypedDict):
    received: int
    kept: int
    collected: str
    licence: str


class Rejected(Dataset):
    reasons: dict[str, int]


class Unreadable(TypedDict):
    """Rows that ingest could not read: received and rejected, and in no table."""

    rows: int
    reasons: dict[str, int]
    sources: dict[str, int]


class PersonalData(TypedDict):
    """Values that curation replaced, in all rows that were received."""

    rows: int
    values: dict[str, int]  # by type


class Suppressed(TypedDict):
    md5: str
    ids: int


class Validation(TypedDict):
    verdict: str
    suite_sha256: str
    expectations: int
    report_md5: str


class Split(Dataset):
    labels: dict[str, int]


class ReplayFile(TypedDict):
    path: str
    sha256: str
    received: int
    kept: int
    learned: int


class Replay(Dataset):
    """Examples that are mixed in against forgetting; none of them is a row."""

    learned: int
    files: dict[str, ReplayFile]


class Data(TypedDict):
    raw: Dataset
    sources: dict[str, Source]
    curated: Dataset
    rejected: Rejected
    suppressed: Suppressed
    validation: Validation
    sides: dict[str, Split]  # train, val, test
    unreadable: NotRequired[Unreadable]
    personal_data: NotRequired[PersonalData]
    general: NotRequired[Replay]


class Base(TypedDict):
    name: str
    revision: str
    sha256: str
    licence: str
    files: dict[str, str]  # name -> sha256


class Code(TypedDict):
    commit: str  # that was checked out, or `none`
    dirty: bool
    diff_sha256: str
    record_name: str
    record_commit: str  # the workspace as it was
    modules: dict[str, str]  # path -> md5


class Environment(TypedDict):
    lock_sha256: str
    python: str
    platform: str
    torch: str
    cuda: str
    device: str
    threads: int
    deterministic: bool


class Estimate(TypedDict):
    """A value that follows from stated inputs and was not measured."""

    estimate: bool
    value: float
    unit: str
    inputs: dict[str, float]


# The version that training continued from, and how its rows differ from those of now; {"from": "base"} without one.
Start = TypedDict(
    "Start",
    {
        "from": str,
        "seal": NotRequired[str],
        "record_commit": NotRequired[str],
        "fingerprint": NotRequired[str],
        "model_md5": NotRequired[str],
        "train_md5": NotRequired[str],
        "val_md5": NotRequired[str],
        "refit": NotRequired[bool],
        "new_rows": NotRequired[int],
        "corrected_rows": NotRequired[int],
        "old_rows": NotRequired[int],
        "gone_rows": NotRequired[int],
        "new_labels": NotRequired[list[str]],
        "gone_labels": NotRequired[list[str]],
    },
)


class Training(TypedDict):
    method: str
    start: NotRequired[Start]  # records from before there was a choice have none
    seed: int
    rows: int
    steps: int
    epochs: int
    seconds: float
    parameters: int
    trained_parameters: int
    refit: bool
    energy: Estimate
    cost: Estimate


class Score(TypedDict):
    value: float
    low: float
    high: float
    n: int


Scored = dict[str, Score]  # metric -> score


class Scores(TypedDict):
    rows: int
    confidence: float
    candidate: Scored
    base: Scored
    probe: Scored | None
    champion: Scored | None


class Promise(TypedDict):
    precision: float
    confidence: float


class OutOfScope(TypedDict):
    share: Score
    auroc: float


class Automation(TypedDict):
    """automation.json: what the model may do alone."""

    promise: Promise | None
    status: str  # proved | holds | contradicted | unreachable | off
    reason: str
    threshold: float | None
    labels: dict[str, float | None]
    validation_rows: int
    share: Score | None
    precision: Score | None
    aurc: float
    out_of_scope: OutOfScope | None
    measure: NotRequired[str]  # exact | schema | judge: of a model that writes


class Measure(TypedDict):
    """One of what `evaluate` measured beside the scores."""

    title: str
    value: float
    low: float
    high: float
    n: int


class Guardrail(TypedDict):
    kind: str  # label | slice | calibration | general
    name: str
    rows: int
    loss: float
    limit: float
    confidence: float
    broken: bool


class Latency(TypedDict):
    candidate: float
    champion: float
    ratio: float
    texts: int
    passes: int
    per: NotRequired[str]  # text | token
    candidate_tokens: NotRequired[int]
    champion_tokens: NotRequired[int]


class Rival(TypedDict):
    name: str  # base | champion
    won: bool
    outcome: NotRequired[str]  # this and the next three: since schema 2
    worse: NotRequired[bool]
    needed: NotRequired[int]
    differing: NotRequired[int]
    margin: float
    gain: float
    low: float
    high: float
    rows: int
    confidence: float
    reason: str


class Gate(TypedDict):
    decision: str  # champion | held
    metric: str
    confidence: float
    champion: str | None
    rivals: list[Rival]
    worse: NotRequired[bool]  # this and the next four: since schema 2
    reasons: NotRequired[list[str]]
    champion_test: NotRequired[str | None]
    bounds: NotRequired[list[Guardrail]]
    latency: NotRequired[Latency | None]


class Pipeline(TypedDict):
    lock_md5: str
    hashes: dict[str, str]  # path -> md5, as dvc.lock has them


class Record(TypedDict):
    """lineage.json. md5 values are DVC's (a folder's ends in .dir), sha256 values are of the bytes themselves."""

    schema_version: int
    name: str
    fingerprint: str
    created: str  # ISO 8601
    started: Started
    data: Data
    base: Base
    code: Code
    environment: Environment
    training: Training
    params: dict[str, Any]  # params.yaml as it was
    scores: Scores
    automation: NotRequired[Automation]
    measures: NotRequired[dict[str, Measure]]  # by name in evaluate.json; records of earlier releases have none
    gate: Gate
    pipeline: Pipeline
    files: dict[str, str]  # name -> sha256


def write(record: Record, path: Path) -> None:
    """Raises Broken if the record does not fit the schema: then the code that made it is wrong."""
    if wrong := problems(record):
        raise Broken(f"the record does not fit its own schema: {wrong[0]}")
    write_json(cast(dict[str, Any], record), path)


def read(path: Path) -> Record:
    """Raises Refused if the file cannot be read, or does not fit the schema."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}; this version has no record of what made it") from None
    except ValueError as error:
        raise Refused(f"{path} is damaged: {error}") from None
    if wrong := problems(content):
        raise Refused(f"{path} is no record of this version of Retune: {wrong[0]}")
    return cast(Record, content)


def reasons_of(gate: Gate) -> tuple[str, ...]:
    """Why the gate decided as it did. A record of schema 1 has only the reasons of its rivals."""
    return tuple(gate.get("reasons") or [rival["reason"] for rival in gate["rivals"]])


def problems(record: Any) -> list[str]:
    """Where a record differs from the schema, each by its dotted path."""
    return [
        f"{'.'.join(map(str, error.absolute_path)) or 'the whole'}: {error.message[:200]}"
        for error in _validator().iter_errors(record)
    ]


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(SCHEMA.read_text("utf-8")))
