"""JSON in the layouts in which programs write it, whatever the suffix: found by content.

an object a line, also with a comma after it or as the lines of an array      jq -c, OpenAI, BigQuery
an array of objects, or objects one after the other                           most exports, jq
an object that holds the array under one key                                  {"data": [...]}, {"rows": [...]}
columns: {"text": [...], ...} or {"text": {"0": ...}, ...}; {"columns": [...], "data": [...]}   pandas
arrays, the first of which names the columns                                  spreadsheets, jsonlines.org
"""

import json
import reprlib
from collections.abc import Iterator, Sequence
from typing import Any

from retune.data.readers import encoding
from retune.data.readers.compression import Content, damage
from retune.data.readers.records import Reading, clean_name
from retune.data.readers.table import Fault, NumberText, Reject, Table
from retune.errors import Refused

NOT_JSON, NO_OBJECT, KEY_TWICE = "not JSON", "no object", "a key twice"  # reasons
CONVERSATIONS = {
    "messages",
    "conversations",
    "prompt",
    "completion",
    "chosen",
    "rejected",
}  # their lists hold no rows
DEEP = "objects are nested too deeply"


class KeyTwice(ValueError):
    """An object has a key twice, with different values."""


def is_json(content: Content, start: str) -> bool:
    """Whether a text that starts so is JSON. A CSV file may begin with a bracket too."""
    start = start.lstrip("\ufeff \t\r\n")
    if not start.startswith(("{", "[")):
        return content.suffix in (".json", ".jsonl", ".ndjson")
    if content.suffix not in (".csv", ".tsv", ".txt", ".tab", ".psv"):
        return True
    return start[1:].lstrip().startswith(('"', "{", "[", "]", "}"))


def read(content: Content, name: str, reading: Reading) -> Table:
    codec = encoding.of(content.start, reading.encoding)
    encoding.refuse_wide_without_mark(content.start, codec, name)
    check = encoding.Check(codec)
    with damage(content.path), encoding.lines(content.open, codec, name) as lines:
        table = _by_line(lines, name, check, reading)
    if table is None:
        check = encoding.Check(codec)
        with damage(content.path), encoding.lines(content.open, codec, name) as lines:
            text = "".join(lines)
        for number, line in enumerate(text.splitlines(), 1):
            check.fault(line, number)
        check.refuse_another_encoding(name, reading.encoding)
        table = _whole_or_lines(text, name, codec, reading)
    check.refuse_another_encoding(name, reading.encoding)
    return table


def parse(text: str) -> Any:
    """The value, with numbers as they are written. NaN counts as null."""
    return json.loads(
        text, parse_int=NumberText, parse_float=NumberText, parse_constant=lambda _: None, object_pairs_hook=_object
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        for key, value in pairs:
            if record[key] != value:
                raise KeyTwice(f"the key {key!r} stands twice, with different values: keep one")
    return record


def _whole_or_lines(text: str, name: str, codec: str, reading: Reading) -> Table:
    """Of the whole text; if that is not JSON, of those of its lines that are objects."""
    try:
        return _whole(text, name, reading)
    except Refused:
        table = _by_line(iter(text.splitlines()), name, encoding.Check(codec), reading, is_sure=True)
        if table is None or not table.places:
            raise
        return table


def _by_line(
    lines: Iterator[str], name: str, check: encoding.Check, reading: Reading, is_sure: bool = False
) -> Table | None:
    """The table, if each line is an object; None if the first one is not, so that the text must be read whole.

    Where it `is_sure` that the whole is no JSON, the first line may be broken like any other.
    """
    places: list[int] = []
    values: list[Any] = []
    rejects: list[Reject] = []
    opens, closes = False, True
    for number, line in enumerate(lines, 1):
        text = line.strip().lstrip("\ufeff")
        if not places and not rejects and not opens and text.startswith("["):
            opens, closes, text = True, False, text[1:].strip()
        if opens and text.endswith("]") and not text.endswith("[]"):
            closes, text = True, text[:-1].rstrip()
        text = text.removesuffix(",").rstrip()
        if not text:
            continue
        value, fault = _value(text)
        fault = check.fault(line, number) or fault
        is_first = not places and not rejects and not is_sure
        if is_first and not (isinstance(value, dict) or (fault and fault.reason != NOT_JSON)):
            return None
        if fault:
            rejects.append(Reject("line", number, fault, text))
        else:
            places.append(number)
            values.append(value)
            if len(values) % 200_000 == 0:
                reading.say(f"read {len(values):,} lines of {name}")
    if len(values) == 1 and not rejects and not opens and _rows_within(values[0], reading) is not None:
        return None
    if rejects and len(rejects) > sum(isinstance(value, dict) for value in values):
        return None  # an array or object that is laid out over several lines
    notes = [] if closes else ["the array does not end: the file may have been cut off"]
    return _of_objects(name, "line", places, values, rejects, notes)


def _value(text: str) -> tuple[Any, Fault | None]:
    try:
        return parse(text), None
    except KeyTwice as error:
        return None, Fault(KEY_TWICE, str(error))
    except json.JSONDecodeError as error:
        return None, Fault(NOT_JSON, f"column {error.colno}: {error.msg}, in {reprlib.repr(text)}: correct the export")
    except RecursionError:
        return None, Fault(NOT_JSON, f"{DEEP}: correct the export")


def _whole(text: str, name: str, reading: Reading) -> Table:
    """Of one value, or of values one after the other."""
    values = _values(text.lstrip("\ufeff"), name)
    value: Any = values if len(values) != 1 else values[0]
    rows = value if isinstance(value, list) else _rows_within(value, reading)
    if rows is None:
        if not isinstance(value, dict):
            raise Refused(
                f'{name} is JSON, but no list of objects: write [{{...}}, ...], one object a line, or {{"data": [...]}}'
            )
        rows = [value]
    if _names_columns(rows):
        rows = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    if rows and all(isinstance(row, dict) and isinstance(row.get("row"), dict) for row in rows):
        rows = [row["row"] for row in rows]  # the answer of a dataset viewer
    return _of_objects(name, "row", range(1, len(rows) + 1), rows, [], [])


def _names_columns(rows: list[Any]) -> bool:
    """Whether the first of these arrays names the columns of the others."""
    is_table = len(rows) > 1 and all(isinstance(row, list) and len(row) == len(rows[0]) for row in rows)
    return is_table and all(isinstance(cell, str) for cell in rows[0])


def _values(text: str, name: str) -> list[Any]:
    decoder = json.JSONDecoder(
        parse_int=NumberText, parse_float=NumberText, parse_constant=lambda _: None, object_pairs_hook=_object
    )
    values, at = [], 0
    try:
        while at < len(text):
            if text[at] in " \t\r\n,":
                at += 1
                continue
            value, at = decoder.raw_decode(text, at)
            values.append(value)
    except json.JSONDecodeError as error:
        around = reprlib.repr(text[max(0, error.pos - 15) : error.pos + 15].strip())
        raise Refused(
            f"{name}, line {error.lineno}, column {error.colno}: {error.msg}: {around}. Correct the export"
        ) from None
    except RecursionError:
        raise Refused(f"{name}, line {text.count(chr(10), 0, at) + 1}: {DEEP}") from None
    except KeyTwice as error:
        raise Refused(f"{name}, from line {text.count(chr(10), 0, at) + 1} on: {error}") from None
    return values


def _rows_within(value: Any, reading: Reading) -> list[Any] | None:
    """The rows that an object holds in one of the known layouts; None if it is a row itself, or nothing known."""
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):
        names = [each["name"] if isinstance(each, dict) and "name" in each else each for each in value["columns"]]
        if all(isinstance(row, list) and len(row) == len(names) for row in value["data"]):
            return [dict(zip(map(str, names), row, strict=True)) for row in value["data"]]
    lists = {key: each for key, each in value.items() if isinstance(each, list)}
    if any(isinstance(cell, dict) for key in lists.keys() & CONVERSATIONS for cell in lists[key]):
        return None  # one conversation, whatever lists stand beside its messages
    if "data" in lists:
        return lists["data"]
    is_columns = len(value) > 1 and len(lists) == len(value) and len({len(each) for each in lists.values()}) == 1
    if is_columns and not all(isinstance(cell, dict) for each in lists.values() for cell in each):
        return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    arrays = [each for each in lists.values() if each and all(isinstance(row, dict) for row in each)]
    if len(arrays) == 1 and not (reading.must_have and reading.must_have <= value.keys()):
        return arrays[0]
    return _keyed(value, reading)


def _keyed(value: dict[str, Any], reading: Reading) -> list[Any] | None:
    """Rows of columns by index, as pandas writes them, or of an index by columns."""
    if not value or not all(isinstance(each, dict) for each in value.values()):
        return None
    inner = next(iter(value.values())).keys()
    if not all(each.keys() == inner for each in value.values()):
        return None
    by_column = (
        reading.must_have <= value.keys() if reading.must_have & {*value, *inner} else all(map(str.isdigit, inner))
    )
    if by_column:
        return [{name: column[key] for name, column in value.items()} for key in inner]
    return [*value.values()]


def _of_objects(
    name: str, unit: str, places: Sequence[int], values: Sequence[Any], rejects: list[Reject], notes: list[str]
) -> Table:
    rows, row_places = [], []
    for place, value in zip(places, values, strict=True):
        if isinstance(value, dict):
            rows.append(value)
            row_places.append(place)
        else:
            message = f"{reprlib.repr(value)} is not an object with columns"
            rejects.append(Reject(unit, place, Fault(NO_OBJECT, message), json.dumps(value, default=str)))
    keys: dict[str, list[str]] = {}
    for key in dict.fromkeys(key for row in rows for key in row):
        keys.setdefault(clean_name(key) or "column without a name", []).append(key)

    def column(title: str) -> list[Any]:
        first, *others = keys[title]
        if not others:
            return [row.get(first) for row in rows]
        return [next((row[key] for key in keys[title] if row.get(key) is not None), None) for row in rows]

    return Table(name, [*keys], row_places, column, unit, rejects=rejects, notes=notes)
