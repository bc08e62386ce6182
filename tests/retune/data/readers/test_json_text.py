"""JSON as programs write it, whatever the suffix says."""

import json

import pytest

from retune.data.readers.records import Reading
from retune.data.readers.source import read
from retune.errors import Refused

WANTED = frozenset(["text", "label"])
ROWS = [("parcel late", "shipping"), ("bill wrong", "billing")]
RECORDS = [{"text": text, "label": label} for text, label in ROWS]


@pytest.fixture
def table(tmp_path):
    def of(text, name="t.json", must_have=WANTED):
        path = tmp_path / name
        path.write_text(text, "utf-8")
        return read(str(path), Reading(must_have=must_have))

    return of


def rows(table):
    return [*zip(table.column("text"), table.column("label"), strict=True)]


LAYOUTS = {
    "an object a line": "\n".join(map(json.dumps, RECORDS)),
    "with a comma after each": ",\n".join(map(json.dumps, RECORDS)) + ",\n",
    "an array": json.dumps(RECORDS),
    "an array with an object a line": "[" + ",\n".join(map(json.dumps, RECORDS)) + "]\n",
    "an array between lines": "[\n" + ",\n".join(map(json.dumps, RECORDS)) + "\n]\n",
    "an array that is laid out": json.dumps(RECORDS, indent=2),
    "objects that are laid out": "\n".join(json.dumps(record, indent=1) for record in RECORDS),
    "data": json.dumps({"data": RECORDS, "version": 1}),
    "results": json.dumps({"count": 2, "results": RECORDS}),
    "a dataset viewer": json.dumps({"features": [], "rows": [{"row_idx": 0, "row": record} for record in RECORDS]}),
    "pandas columns": json.dumps({name: {str(at): row[name] for at, row in enumerate(RECORDS)} for name in RECORDS[0]}),
    "pandas index": json.dumps({str(at): row for at, row in enumerate(RECORDS)}),
    "pandas split": json.dumps({"columns": ["text", "label"], "index": [0, 1], "data": ROWS}),
    "lists of columns": json.dumps({name: [row[name] for row in RECORDS] for name in RECORDS[0]}),
    "arrays": json.dumps([["text", "label"], *ROWS]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["t.json", "t.jsonl", "t.csv"])
def test_every_layout_is_read_whatever_the_suffix(table, layout, name):
    assert rows(table(LAYOUTS[layout], name)) == ROWS


def test_one_object_is_one_row_also_if_it_holds_messages(table):
    assert rows(table('{"text": "a", "label": "b"}')) == [("a", "b")]
    chat = table('{"messages": [{"role": "user", "content": "a"}]}', must_have=frozenset())
    assert chat.names == ["messages"] and len(chat.places) == 1


@pytest.mark.parametrize("siblings", [{"tools": [{"type": "function"}]}, {"tags": ["a"]}, {"data": [{"id": 1}]}])
def test_one_conversation_is_one_row_whatever_lists_stand_beside_its_messages(table, siblings):
    record = {"messages": [{"role": "user", "content": "a"}], **siblings}
    for text in (json.dumps(record), json.dumps(record, indent=1)):
        read_table = table(text, must_have=frozenset())
        assert (read_table.names, len(read_table.places)) == ([*record], 1)


def test_lines_that_are_no_row_are_rejects_with_their_lines(table):
    good = '{"text":"a","label":"b"}\n'
    read_table = table(f'{good}{{"text":"c","la\n{good}{{"text":"a","text":"b"}}\n[1]\n{good}{good}', "t.jsonl")
    assert [*read_table.places] == [1, 3, 6, 7]
    assert [(each.place, each.fault.reason) for each in read_table.rejects] == [
        (2, "not JSON"),
        (4, "a key twice"),
        (5, "no object"),
    ]


def test_an_array_that_was_cut_off_is_told(table):
    assert "cut off" in table('[\n{"text":"a","label":"b"},\n{"text":"c","label":"d"}\n').notes[0]


@pytest.mark.parametrize("text", ["7", '"text"', "null"])
def test_what_holds_no_rows_is_refused(table, text):
    with pytest.raises(Refused, match=r"is JSON, but no list of objects: write .* one object a line"):
        table(text)


def test_a_broken_first_line_refuses_no_other(table):
    read_table = table('{"text":"a","la\n' + '{"text":"a","label":"b"}\n' * 3, "t.jsonl")
    assert [*read_table.places] == [2, 3, 4]
    assert [each.place for each in read_table.rejects] == [1]
