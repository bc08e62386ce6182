"""What people keep becomes prompt and answer, to the letter; a cell that is no conversation is told with its place."""

import json
from pathlib import Path

import pytest

from retune.data import chat_formats, messages
from retune.data.readers.source import read as read_table
from retune.data.readers.table import Table
from retune.errors import WrongUse

OASST = Path(__file__).parents[4] / "shared" / "data" / "oasst_en100" / "en_100_tree.jsonl"
EARLIER = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
ASK, REPLY = "Where is it?\n\nMy order.", "I look.\n- today\n- tomorrow"


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


SYSTEM = {"role": "system", "content": "Be kind."}


def table(*records):
    names = list(dict.fromkeys(name for record in records for name in record))
    places = range(1, len(records) + 1)
    return Table("own.jsonl", names, places, lambda name: [record.get(name) for record in records])


def mapped(task, record, **named):
    """Prompt, answers and format of one row."""
    rows = chat_formats.read(table(record), task, **named)
    ((prompt,), *answers) = rows.values.values()
    return json.loads(prompt), *(answer for (answer,) in answers), rows.format


INSTRUCT = {
    "messages": [
        ({"messages": [SYSTEM, user(ASK), assistant(REPLY)]}, [SYSTEM, user(ASK)]),
        ({"messages": [*EARLIER, user(ASK), assistant(REPLY)]}, [*EARLIER, user(ASK)]),
        ({"messages": json.dumps([user(ASK), assistant(REPLY)])}, [user(ASK)]),  # as a CSV file holds it
        ({"messages": [{**user(ASK), "name": None}, assistant(REPLY)]}, [user(ASK)]),  # as Parquet fills it up
    ],
    "ShareGPT": [
        (
            {
                "conversations": [
                    {"from": "system", "value": "Be kind."},
                    {"from": "human", "value": ASK},
                    {"from": "gpt", "value": REPLY},
                ]
            },
            [SYSTEM, user(ASK)],
        )
    ],
    "prompt and completion": [
        ({"prompt": ASK, "completion": REPLY}, [user(ASK)]),
        ({"prompt": [SYSTEM, user(ASK)], "completion": [assistant(REPLY)]}, [SYSTEM, user(ASK)]),
        ({"prompt": EARLIER[:1], "completion": [EARLIER[1], user(ASK), assistant(REPLY)]}, [*EARLIER, user(ASK)]),
    ],
    "Alpaca": [
        ({"instruction": "Where is it?", "input": "My order.", "output": REPLY}, [user(ASK)]),
        ({"instruction": ASK, "input": "", "output": REPLY}, [user(ASK)]),
        ({"instruction": ASK, "output": REPLY}, [user(ASK)]),
    ],
    "the columns text and label": [({"text": ASK, "label": REPLY}, [user(ASK)])],
}  # fmt: skip


@pytest.mark.parametrize(
    ("form", "record", "prompt"), [(form, *case) for form, cases in INSTRUCT.items() for case in cases]
)
def test_each_format_of_instructions_is_recognised(form, record, prompt):
    assert mapped("instruct", record) == (prompt, REPLY, form)


PAIRS = [
    {"prompt": ASK, "chosen": REPLY, "rejected": "no"},
    {"prompt": [user(ASK)], "chosen": [assistant(REPLY)], "rejected": [assistant("no")]},
    {"chosen": [user(ASK), assistant(REPLY)], "rejected": [user(ASK), assistant("no")]},
    {"prompt": ASK, "chosen": [user(ASK), assistant(REPLY)], "rejected": [user(ASK), assistant("no")]},
]


@pytest.mark.parametrize("record", PAIRS)
def test_each_format_of_preferences_is_recognised(record):
    assert mapped("prefer", record) == ([user(ASK)], REPLY, "no", "chosen and rejected")


def test_named_columns_come_before_what_the_columns_show():
    record = {"messages": [user("x"), assistant("y")], "body": ASK, "reply": REPLY, "bad": "no"}
    assert mapped("instruct", record, text="body", label="reply") == ([user(ASK)], REPLY, "the columns body and reply")
    named = {"text": "body", "label": "reply", "rejected": "bad"}
    assert mapped("prefer", record, **named) == ([user(ASK)], REPLY, "no", "the columns body, reply, bad")


@pytest.mark.parametrize("task", ["instruct", "prefer"])
def test_rows_of_ours_come_back_as_they_were(task):
    first = table({"text": messages.dump([SYSTEM, user(ASK)]), "label": REPLY, "rejected": "no"})
    rows = chat_formats.read(first, task, "text", "label")
    assert rows.values["text"] == first.column("text")
    assert rows.values["label"] == [REPLY]


def test_the_columns_that_were_read_are_told():
    rows = chat_formats.read(table({"instruction": "a", "input": "b", "output": "c", "x": "d"}), "instruct")
    assert rows.columns == ("instruction", "output", "input")


def test_an_empty_prompt_or_answer_passes_for_curate_to_count():
    assert mapped("instruct", {"prompt": "", "completion": None})[:2] == ([user("")], "")


MISREAD = {
    "'I ask' is not a list of messages": ("instruct", {"messages": "I ask"}),
    "[] is not a list of messages": ("instruct", {"messages": []}),
    "{'role': 'user'} is not a message: give it role and content": ("instruct", {"messages": [{"role": "user"}]}),
    "'bot' is not a known role: use system, user, assistant, tool": (
        "instruct",
        {"messages": [user("a"), {"role": "bot", "content": "b"}]},
    ),
    "'narrator' is not a known from: use human, gpt": (
        "instruct",
        {"conversations": [{"from": "narrator", "value": "b"}]},
    ),
    "comes last, and the model learns only what the assistant says": (
        "instruct",
        {"messages": [user("a"), assistant("b"), user("thanks")]},
    ),
    "has no question": ("instruct", {"messages": [SYSTEM, assistant("b")]}),
    "holds 'tool_calls', which Retune cannot train on": (
        "instruct",
        {"messages": [user("a"), {**assistant("b"), "tool_calls": [{"id": "1"}]}]},
    ),
    "is not a text: give text or a number": ("instruct", {"prompt": "a", "completion": {"answer": "b"}}),
    "is not a text: correct the export": ("instruct", {"prompt": "a", "completion": "half \ud83d"}),
    "'b' has no prompt: give a prompt": ("prefer", {"chosen": "b", "rejected": "c"}),
    "answers other messages than chosen does": (
        "prefer",
        {"chosen": [user("a"), assistant("b")], "rejected": [user("z"), assistant("c")]},
    ),
}


@pytest.mark.parametrize("invalid", MISREAD)
def test_a_cell_that_is_no_conversation_is_a_fault_of_its_row_with_value_and_remedy(invalid):
    task, record = MISREAD[invalid]
    sharegpt = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    good = {"messages": EARLIER, "conversations": sharegpt, "chosen": EARLIER, "rejected": EARLIER}
    fine = {name: good.get(name, "a") for name in record}
    rows = chat_formats.read(table(fine, record), task)
    assert [*rows.faults] == [1]
    assert invalid in rows.faults[1].message
    assert rows.values["label"][0] and not rows.values["label"][1]


def test_columns_of_no_format_are_told_the_formats():
    with pytest.raises(WrongUse, match=r"no format of task instruct.*Alpaca \(instruction, output\).*--text COLUMN"):
        chat_formats.read(table({"instruction": "a", "response": "b"}), "instruct")
    with pytest.raises(WrongUse, match="did you mean 'response'"):
        chat_formats.read(table({"instruction": "a", "response": "b"}), "instruct", "instruction", "respons")
    with pytest.raises(WrongUse, match=r"it has instruction, response\. Say which ones to take with --text COLUMN"):
        chat_formats.read(table({"instruction": "a", "response": "b"}), "instruct", "instruction", "nope")


def test_only_messages_are_taken_for_messages():
    assert messages.parse('[{"role":"user","content":"a"}]') == [user("a")]
    for words in ("[note] late", "[]", '[{"role":"user"}]', '["a"]', "[" * 100_000, '[{"role":"boss","content":"a"}]'):
        assert messages.parse(words) is None


@pytest.mark.skipif(not OASST.exists(), reason="needs the Open-Assistant trees")
def test_open_assistants_trees_become_messages_and_preferences(tmp_path):
    conversations, pairs = [], []

    def walk(message, before):
        now = [*before, {"role": {"prompter": "user"}.get(message["role"], "assistant"), "content": message["text"]}]
        if message["role"] == "assistant":
            conversations.append({"messages": now})
        ranked = sorted(
            (each for each in message["replies"] if each.get("rank") is not None), key=lambda each: each["rank"]
        )
        if message["role"] == "prompter" and len(ranked) > 1:
            pairs.append(
                {"prompt": now, "chosen": [assistant(ranked[0]["text"])], "rejected": [assistant(ranked[-1]["text"])]}
            )
        for reply in message["replies"]:
            walk(reply, now)

    for line in OASST.read_text("utf-8").splitlines():
        walk(json.loads(line)["prompt"], [])
    for name, records, task in (("said", conversations, "instruct"), ("pairs", pairs, "prefer")):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("\n".join(map(json.dumps, records)), "utf-8")
        rows = chat_formats.read(read_table(str(path)), task)
        assert len(rows.values["text"]) == len(records) > 150
        assert all(messages.parse(text) for text in rows.values["text"])
