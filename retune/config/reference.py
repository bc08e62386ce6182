"""What each parameter means, read from the types: for `retune params explain`, the editor and the reference page."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Discriminator, TypeAdapter

from retune.config import params, renames
from retune.errors import WrongUse

RANGES = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


@dataclass(frozen=True)
class Parameter:
    """One parameter, or a section, whose `type` is "section"; parameters of a list's items have [] in their path."""

    path: str
    description: str
    type: str
    allowed: str  # empty: any value of the type
    usual: str  # empty: no range is usual


def schema() -> dict[str, Any]:
    """The JSON schema of params.yaml for every task, as editors read it."""
    whole: Any = Annotated[params.Params, Discriminator("task")]
    json_schema: dict[str, Any] = TypeAdapter(whole).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "params.yaml of Retune", **json_schema}


def parameters(task: str) -> list[Parameter]:
    """Every parameter and section of a task's file."""
    whole = TypeAdapter(params.TASKS[task]).json_schema()
    return list(_below(whole, whole.get("$defs", {}), ""))


def parameter(task: str, path: str) -> Parameter:
    """One parameter by its dotted path. Raises WrongUse with a close name if there is none."""
    if new := renames.current_name(path):
        raise WrongUse(f"`{path}` is now called `{new}`: run `retune params explain {new}`")
    by_path = {each.path.replace("[]", ""): each for each in parameters(task)}
    if path.replace("[]", "") not in by_path:
        hint = params.did_you_mean(path, list(by_path))
        raise WrongUse(f"{path} is not a parameter of task {task}{hint}")
    return by_path[path.replace("[]", "")]


def _below(node: dict[str, Any], definitions: dict[str, Any], prefix: str) -> Iterator[Parameter]:
    for name, field in node.get("properties", {}).items():
        path = f"{prefix}{name}"
        yield _parameter(path, field)
        yield from _nested(field, definitions, path)


def _nested(field: dict[str, Any], definitions: dict[str, Any], path: str) -> Iterator[Parameter]:
    if "$ref" in field:
        yield from _below(_resolve(field, definitions), definitions, f"{path}.")
    items = field.get("items", {})
    paths: set[str] = set()
    for kind in items.get("oneOf", [items]):  # the kinds of a source share some of their parameters
        for each in _below(_resolve(kind, definitions), definitions, f"{path}[]."):
            if each.path not in paths:
                yield each
            paths.add(each.path)


def _resolve(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    resolved: dict[str, Any] = definitions[field["$ref"].rpartition("/")[2]] if "$ref" in field else field
    return resolved


def _parameter(path: str, field: dict[str, Any]) -> Parameter:
    kind = "section" if "$ref" in field else _type(field)
    return Parameter(path, field["description"], kind, _allowed(field), field.get("usual", ""))


def _type(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(each) for each in field["anyOf"])
    if field.get("type") == "array":
        item = field["items"]
        return f"list of {'sections' if '$ref' in item or 'oneOf' in item else _type(item) + 's'}"
    return str(field["type"])


def _allowed(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return ", ".join(filter(None, map(_allowed, field["anyOf"])))
    if field.get("type") == "array":
        return _allowed(field["items"])
    if "const" in field:
        return str(field["const"])
    if "enum" in field:
        return ", ".join(map(str, field["enum"]))
    ranges = [f"{words} {field[key]:g}" for key, words in RANGES.items() if key in field]
    return ", ".join(ranges + ([f"text that matches {field['pattern']}"] if "pattern" in field else []))
