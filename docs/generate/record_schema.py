"""docs/reference/record-schema.md: every field of lineage.json, from its JSON schema."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docs.generate.markdown import code, head, table

SCHEMA = "retune/lineage/record.schema.json"
COLUMNS = ("field", "type", "required", "meaning")
Schema = dict[str, Any]
Row = tuple[str, str, str, str]


def page() -> str:
    schema = json.loads((Path(__file__).resolve().parents[2] / SCHEMA).read_text("utf-8"))
    answer = (
        "Each registered version carries `lineage.json`, which says what made it. `retune lineage model NAME@ALIAS` "
        "reads it and computes every link again."
    )
    lines = head("Lineage record", answer, f"`{SCHEMA}`")
    lines += ["A field that is not required is absent where it does not apply. NAME stands for any key.", ""]
    top = [_row(name, field, name in schema["required"]) for name, field in schema["properties"].items()]
    lines += ["## Record", "", *table(COLUMNS, top)]
    for name, section in schema["properties"].items():
        if rows := list(_inside(name, section)):
            lines += [f"## {name}", "", *table(COLUMNS, rows)]
    lines += ["## Shapes", "", "Types that several fields share.", ""]
    for name, shape in schema["$defs"].items():
        lines += [f"### {name}", "", " ".join(filter(None, (shape["description"], _pattern(shape)))), ""]
        if rows := list(_inside("", shape)):
            lines += table(COLUMNS, rows)
    return "\n".join(lines)


def _pattern(shape: Schema) -> str:
    return f"Matches {code(shape['pattern'])}." if "pattern" in shape else ""


def _inside(path: str, node: Schema) -> Iterator[Row]:
    """The fields below one, at any depth; not those of a shared shape, which stand below its own heading."""
    rows: dict[str, Row] = {}  # the choices of a `oneOf` share some of their fields
    for part in (node, *node.get("oneOf", []), node.get("items", {})):
        prefix = f"{path}[]." if part is node.get("items") else f"{path}." if path else ""
        below = [(f"{prefix}{name}", field, name in part.get("required", [])) for name, field in _fields(part)]
        for name, field, required in below:
            for row in (_row(name, field, required), *_inside(name, field)):
                if not row[0].endswith("NAME`"):  # the section that holds it says so already
                    rows.setdefault(row[0], row)
    yield from rows.values()


def _fields(node: Schema) -> Iterator[tuple[str, Schema]]:
    yield from node.get("properties", {}).items()
    if _is_section(more := node.get("additionalProperties", {})):
        yield "NAME", more


def _is_section(field: Any) -> bool:
    return isinstance(field, dict) and "properties" in field


def _row(path: str, field: Schema, required: bool) -> Row:
    return code(path), _type(field), "yes" if required else "", field.get("description", "")


def _type(field: Schema) -> str:
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name})"
    if "oneOf" in field:
        return " or ".join(dict.fromkeys(map(_type, field["oneOf"])))
    if "enum" in field:
        return " or ".join(code(json.dumps(each)) for each in field["enum"])
    if "const" in field:
        return code(json.dumps(field["const"]))
    if field["type"] == "array":
        return f"list of {_type(field['items'])}s"
    if isinstance(more := field.get("additionalProperties"), dict):
        return f"{_type(more)} by name"
    return "section" if field["type"] == "object" else str(field["type"])
