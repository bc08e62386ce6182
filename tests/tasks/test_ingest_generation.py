"""Records from which a model is to write."""

import json

import pytest

from retune.data import row_table, task_data
from retune.errors import Refused, WrongUse
from tasks.ingest import Columns, Origin
from tests.support.ingesting import BITEXT, ID, RAW, bytes_of_raw, ingest, rows, take

pytestmark = pytest.mark.usefixtures("scratch_folder")

ASKED = '[{"role":"user","content":"Where is it?\\n\\nMy order."}]'
SAID = {"prompt": "Where is it?\n\nMy order.", "completion": "I look.\n- today"}
PAIR = {"prompt": SAID["prompt"], "chosen": SAID["completion"], "rejected": "No."}


def lines(*records):
    return "\n".join(json.dumps(record) for record in records)


def test_a_prompt_is_kept_as_messages_and_an_answer_with_its_lines():
    done = take(lines({**SAID, "who": "c1", "x": "y"}), Columns(group="who"), "said.jsonl", task="instruct")
    assert (done.format, done.unused) == ("prompt and completion", ("x",))
    (row,) = rows()
    assert (row["text"], row["label"], row["group"]) == (ASKED, SAID["completion"], "c1")
    assert list(row) == list(row_table.COLUMNS)


def test_a_pair_keeps_its_worse_answer():
    assert take(lines(PAIR), name="pairs.jsonl", task="prefer").format == "chosen and rejected"
    (row,) = rows()
    assert (row["text"], row["label"], row["rejected"]) == (ASKED, SAID["completion"], "No.")
    assert tuple(row) == task_data.of("prefer").columns


@pytest.mark.parametrize(("task", "record"), [("instruct", SAID), ("prefer", PAIR)])
def test_conversations_twice_add_nothing_and_a_part_of_raw_is_known_to_the_letter(task, record):
    take(lines(record, record), name="said.jsonl", task=task)
    before = bytes_of_raw()
    assert take(lines(record, record), name="said.jsonl", task=task).known == 2
    (part,) = RAW.glob("*.parquet")
    columns = Columns(text="text", label="label", id="id", group="group", split="given")
    assert ingest(str(part), RAW, columns, origin=Origin("said"), task=task).known == 2
    assert bytes_of_raw() == before


def test_another_worse_answer_is_a_correction():
    take(lines({**PAIR, "id": 1}), ID, "pairs.jsonl", task="prefer")
    assert take(lines({**PAIR, "id": 1, "rejected": "Never."}), ID, "pairs.jsonl", task="prefer").corrected == 1


def test_one_row_that_is_no_conversation_brings_nothing_in():
    asks = {"role": "user", "content": "a"}
    fine = {"messages": [asks, {"role": "assistant", "content": "b"}]}
    with pytest.raises(Refused, match=r"said.jsonl, line 2: .* comes last"):
        take(lines(fine, {"messages": [asks]}), name="said.jsonl", task="instruct")
    assert bytes_of_raw() is None


def test_the_rows_of_two_tasks_do_not_mix():
    take(lines(SAID), name="said.jsonl", task="instruct")
    with pytest.raises(WrongUse, match="rows of another task"):
        take(lines(PAIR), name="pairs.jsonl", task="prefer")
    with pytest.raises(WrongUse, match="only task prefer has one"):
        take("text,label,x\na,b,c\n", Columns(rejected="x"))


@pytest.mark.skipif(not BITEXT.exists(), reason="needs the support replies")
def test_real_support_replies_come_in_whole():
    done = ingest(str(BITEXT), RAW, Columns("instruction", "response"), task="instruct")
    assert (done.added, done.format) == (4514, "the columns instruction and response")
    assert sum("\n" in row["label"] for row in rows()) > 1000
