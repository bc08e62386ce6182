"""Whether a text is JSON that fits a schema. Adapter of jsonschema for the answers of a model."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retune.errors import WrongUse

Schema = dict[str, Any]


def read_schema(path: str) -> Schema | None:
    """The JSON schema in a file; None for an empty path. Raises WrongUse if the file holds no JSON schema."""
    if not path:
        return None
    try:
        text = Path(path).read_text("utf-8")
    except OSError as error:
        raise WrongUse(f"evaluate.json_schema is {path!r}, which cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise WrongUse(f"evaluate.json_schema is {path!r}, which is not a JSON schema: {error}") from None
    return parse_schema(text, f"evaluate.json_schema is {path!r}, which")


def parse_schema(text: str, what: str) -> Schema:
    """The JSON schema in a text. Raises WrongUse if it is none; `what` begins that sentence."""
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    try:
        schema: Schema = json.loads(text)
        validator_for(schema).check_schema(schema)
    except (ValueError, TypeError, RecursionError, SchemaError) as error:
        raise WrongUse(f"{what} is not a JSON schema: {getattr(error, 'message', error)}") from None
    return schema


def matches_schema(texts: Sequence[str], schema: Schema) -> list[bool]:
    """[rows] whether each text is JSON of `schema`. Fetches nothing: a $ref must point into the schema itself."""
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    validator = validator_for(schema)(schema, registry=Registry())
    try:
        return [_is_json(text) and validator.is_valid(json.loads(text)) for text in texts]
    except Unresolvable as error:
        raise WrongUse(
            f"The JSON schema points to {error.ref!r}, which is not part of it. Put the definition under $defs"
        ) from None


def _is_json(text: str) -> bool:
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is Python, not JSON")
