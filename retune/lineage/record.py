"""What made one version: lineage.json, in the shape of record.schema.json. Door to jsonschema.

Written once beside the model and never changed. The schema says what each field means.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from retune.errors import Broken, Refused
from retune.system.stage_io import write_json

FILE = "lineage.json"
CHAMPION_SAID = "champion_predictions.parquet"  # beside it: what the gate compared the candidate with
SCHEMA = Path(__file__).with_name("record.schema.json")

Record = dict[str, Any]


def write(record: Record, path: Path) -> None:
    """Raises Broken if the record is not what the schema says: then the code that made it is wrong."""
    if wrong := problems(record):
        raise Broken(f"the record does not fit its own schema: {wrong[0]}")
    write_json(record, path)


def read(path: Path) -> Record:
    """Raises Refused if there is no record, or what is there is none."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}; this version has no record of what made it") from None
    except ValueError as error:
        raise Refused(f"{path} is damaged: {error}") from None
    if wrong := problems(found):
        raise Refused(f"{path} is no record of this version of Retune: {wrong[0]}")
    return found


def reasons_of(made: Record) -> tuple[str, ...]:
    """Why the gate decided as it did. A record of schema 1 has no reasons but those of the rivals."""
    return tuple(made["gate"].get("reasons") or [rival["reason"] for rival in made["gate"]["rivals"]])


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
