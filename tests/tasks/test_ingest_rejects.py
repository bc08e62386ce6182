"""Rows that cannot be read: one of them does not refuse the others, and is not lost."""

import json
from functools import partial
from pathlib import Path

import pytest

from retune.data import rejects
from retune.data.readers.table import Fault, Reject
from retune.errors import Broken, Refused
from tasks.ingest import Columns
from tests.support.ingesting import ID, RAW, bytes_of_raw, column, take

pytestmark = pytest.mark.usefixtures("scratch_folder")

take_most = partial(take, max_unreadable_share=0.5)


def kept():
    return [json.loads(line) for path in sorted(RAW.glob("*.rejects.jsonl")) for line in path.read_text().splitlines()]


def json_lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


GOOD = {"text": "a", "label": "x"}


def test_a_row_that_cannot_be_read_is_kept_with_its_line_and_reason_and_the_others_come_in():
    result = take_most(json_lines(GOOD, {"text": "b \ud83d", "label": "y"}), name="t.jsonl")
    assert (result.received, result.added, result.rejected) == (2, 1, 1)
    assert result.rejects_file == next(RAW.glob("00001-t-????????.rejects.jsonl"))
    (row,) = kept()
    assert (row["source"], row["line"], row["reason"]) == ("t", 2, "half a character")
    assert json.loads(row["content"]) == {"text": "b \ud83d", "label": "y"}
    assert column("text") == ["a"]


def test_the_reasons_are_counted_with_the_first_row_of_each():
    result = take_most(
        json_lines(*[GOOD] * 3, {**GOOD, "text": ["no"]}, {**GOOD, "side": "hold"}, {**GOOD, "side": "held"}),
        Columns(split="side"),
        "t.jsonl",
    )
    assert [(each.reason, each.rows, each.example[:6]) for each in result.reasons] == [
        ("unknown split", 2, "line 5"),
        ("no text", 1, "line 4"),
    ]


def test_the_share_that_is_allowed_comes_in_and_one_more_is_refused_with_every_line():
    rows = [GOOD] * 3 + [{**GOOD, "text": {}}]
    assert take(json_lines(*rows), name="t.jsonl", max_unreadable_share=0.25).rejected == 1
    before = bytes_of_raw()
    with pytest.raises(Refused, match=r"(?s)2 of 5 rows .* allows 25.0%.*line 4: text is.*line 5: text is"):
        take(json_lines(*rows, rows[-1]), name="t.jsonl", max_unreadable_share=0.25)
    assert bytes_of_raw() == before


def test_a_refusal_names_no_more_rows_than_one_reads_and_counts_the_rest():
    faults = [Reject("line", place, Fault(f"reason {place % 2}", "wrong"), "") for place in range(1, 31)]
    with pytest.raises(Refused) as refusal:
        rejects.refuse_too_many("t.csv", faults, 100, 0.1)
    lines = str(refusal.value).splitlines()
    assert len(lines) == 1 + rejects.SHOWN + 1
    assert lines[-1] == "  and 5 more with reason 1, 5 more with reason 0"


def test_the_same_file_again_keeps_each_rejected_row_once():
    text = json_lines(GOOD, {**GOOD, "text": []})
    take_most(text, name="t.jsonl")
    before = bytes_of_raw()
    again = take_most(text, name="t.jsonl")
    assert (again.rejected, again.rejects_file, again.known) == (1, None, 1)
    assert bytes_of_raw() == before


def test_every_row_of_an_id_with_several_contents_is_rejected_with_the_places_of_two():
    result = take_most("id,text,label\n1,a,x\n2,b,x\n1,c,x\n3,d,x\n1,a,x\n4,e,x\n", ID)
    assert (result.added, result.rejected) == (3, 3)
    assert {row["line"] for row in kept()} == {2, 4, 6}
    assert all("lines 2 and 4" in row["message"] for row in kept())


def test_an_id_made_from_content_counts_only_rows_that_came_in():
    take_most("text,label,s\na,x,\na,x,hold\na,x,\n", Columns(split="s"))
    first, second = column("id")
    assert second == f"{first}-2"


def test_the_rejects_are_counted_by_source_and_reason():
    take_most("text,label\na,x\nb\nc,x\n")
    take_most("text,label,s\na,x,\nb,x,hold\n", Columns(split="s"), name="u.csv")
    assert rejects.unreadable(RAW) == [("tickets", "wrong number of fields"), ("u", "unknown split")]
    assert rejects.unreadable(Path("nowhere")) == []


def test_when_tracking_fails_the_rejects_are_taken_back_too():
    def fail():
        raise Broken("no store")

    with pytest.raises(Broken):
        take_most(json_lines(GOOD, {**GOOD, "text": []}), name="t.jsonl", track=fail)
    assert bytes_of_raw() is None


def test_a_conversation_that_is_none_is_a_reject_of_its_own():
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    result = take_most(json_lines({"messages": talk}, {"messages": talk[:1]}), name="t.jsonl", task="instruct")
    assert (result.added, result.rejected) == (1, 1)
    assert result.reasons[0].reason == "no conversation"
    assert "comes last" in result.reasons[0].example
