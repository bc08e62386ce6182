"""What people keep becomes prompt and answer, to the letter; a cell that is no conversation is told with its place."""

import json
from pathlib import Path

import pytest

from retune.data import chat_formats, messages
from retune.data.answer_counts import AnswerCounts
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
TRACK = {"type": "function", "function": {"name": "track"}}
TOOLS = {"role": "tools", "content": '[{"type":"function","function":{"name":"track"}}]'}


def table(*records):
    names = list(dict.fromkeys(name for record in records for name in record))
    places = range(1, len(records) + 1)
    return Table("own.jsonl", names, places, lambda name: [record.get(name) for record in records])


def mapped(task, record, **named):
    """Prompt, answers and format of one row."""
    rows = chat_formats.read(table(record), task, **named)
    assert rows.faults == {}
    ((prompt,), *answers) = rows.values.values()
    return json.loads(prompt), *(answer for (answer,) in answers), rows.format


INSTRUCT = {
    "messages": [
        ({"messages": [SYSTEM, user(ASK), assistant(REPLY)]}, [SYSTEM, user(ASK)]),
        ({"messages": [*EARLIER, user(ASK), assistant(REPLY)]}, [*EARLIER, user(ASK)]),
        ({"messages": json.dumps([user(ASK), assistant(REPLY)])}, [user(ASK)]),  # as a CSV file holds it
        ({"messages": [{**user(ASK), "name": None}, assistant(REPLY)]}, [user(ASK)]),  # as Parquet fills it up
        ({"messages": [user(ASK), {**assistant(REPLY), "weight": 1, "refusal": None}]}, [user(ASK)]),
        ({"messages": [{**user(ASK), "name": "c 17"}, assistant(REPLY)]}, [{**user(ASK), "name": "c 17"}]),
        ({"messages": [{**SYSTEM, "role": "developer"}, user(ASK), assistant(REPLY)]}, [SYSTEM, user(ASK)]),
        ({"messages": [user(ASK), assistant(REPLY)], "tools": [TRACK]}, [TOOLS, user(ASK)]),
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
        ),
        (
            {
                "conversations": [{"from": "human", "value": ASK}, {"from": "gpt", "value": REPLY}],
                "system": "Be kind.",
                "tools": "[]",
            },
            [SYSTEM, user(ASK)],
        ),
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
        ({"instruction": ASK, "output": REPLY, "history": [["a", "b"]]}, [*EARLIER, user(ASK)]),
        ({"instruction": ASK, "output": REPLY, "history": '[["a", "b"]]', "system": ""}, [*EARLIER, user(ASK)]),
        ({"instruction": ASK, "output": REPLY, "history": [], "system": "Be kind."}, [SYSTEM, user(ASK)]),
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
    {"chosen": f"\n\nHuman: {ASK}\n\nAssistant: {REPLY}", "rejected": f"\n\nHuman: {ASK}\n\nAssistant: no"},
    {"prompt": f"\n\nHuman: {ASK}\n\nAssistant:", "chosen": REPLY, "rejected": "no"},
]


@pytest.mark.parametrize("record", PAIRS)
def test_each_format_of_preferences_is_recognised(record):
    assert mapped("prefer", record) == ([user(ASK)], REPLY, "no", "chosen and rejected")


def sharegpt(speaker, words):
    return {"from": speaker, "value": words}


NAMED_PAIRS = {
    "ShareGPT, chosen and rejected": {
        "conversations": [sharegpt("human", ASK)], "chosen": sharegpt("gpt", REPLY), "rejected": sharegpt("gpt", "no"),
    },
    "preferred and non-preferred output": {
        "input": {"messages": [user(ASK)]},
        "preferred_output": [assistant(REPLY)], "non_preferred_output": [assistant("no")],
    },
}  # fmt: skip


@pytest.mark.parametrize("form", NAMED_PAIRS)
def test_preferences_of_other_tools_are_recognised(form):
    assert mapped("prefer", NAMED_PAIRS[form]) == ([user(ASK)], REPLY, "no", form)


def test_answers_that_part_early_are_compared_from_there_on():
    first = [*EARLIER, user("c")]
    better = [*first, assistant("d"), user("e"), assistant("f")]
    worse = [*first, assistant("x"), user("y"), assistant("z")]
    prompt, label, rejected, _ = mapped("prefer", {"chosen": better, "rejected": worse})
    assert (prompt, json.loads(label), json.loads(rejected)) == (first, better[3:], worse[3:])
    stored = {"text": messages.dump(prompt), "label": label, "rejected": rejected}
    assert mapped("prefer", stored)[:3] == (prompt, label, rejected), "rows of ours come back as they were"


THUMBS = [
    {"prompt": "a", "completion": "good", "label": True},
    {"prompt": "b", "completion": "bad", "label": False},
    {"prompt": "c", "completion": "unknown", "label": None},
]


def test_an_answer_that_people_disliked_is_never_learned_as_an_answer():
    rows = chat_formats.read(table(*THUMBS), "instruct")
    assert rows.values["label"] == ["good", "", ""]
    assert [fault.reason for fault in rows.faults.values()] == ["disliked answer", "not judged"]
    assert rows.faults[1].message.startswith("label is False: an answer that people disliked is not learned; task pre")
    assert rows.faults[2].message == "label is None: write true for an answer that people liked, false for another"
    assert (rows.format, rows.columns[-1]) == ("prompt and completion, judged by label", "label")


def test_thumbs_are_preferences_with_one_answer():
    rows = chat_formats.read(table(*THUMBS), "prefer")
    assert rows.values["label"] == ["good", messages.NO_ANSWER, ""]
    assert rows.values["rejected"] == [messages.NO_ANSWER, "bad", ""]
    assert list(rows.faults) == [2]
    again = {name: values[1] for name, values in rows.values.items()}
    assert mapped("prefer", again)[1:3] == (messages.NO_ANSWER, "bad"), "rows of ours come back as they were"


def test_an_answer_of_weight_0_is_context_and_what_follows_the_last_learned_one_is_left_out():
    draft = {**assistant("draft"), "weight": 0}
    rows = chat_formats.read(
        table({"messages": [user("a"), draft, user("b"), {**assistant("c"), "weight": 1}, user("d"), draft]}),
        "instruct",
    )
    assert json.loads(rows.values["text"][0]) == [user("a"), draft, user("b")]
    assert rows.values["label"] == ["c"]
    assert rows.counts == AnswerCounts(conversations=1, answers=1, earlier=0, unlearned=2)


def test_calls_of_functions_are_kept_in_the_prompt_and_as_an_answer():
    call = {"id": "1", "type": "function", "function": {"name": "track", "arguments": '{"order": 7}'}}
    calling = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "1", "content": "ships"}
    stored_call = {**call, "function": {"name": "track", "arguments": {"order": 7}}}
    stored = {"role": "assistant", "content": "", "tool_calls": [stored_call]}
    prompt, label, _ = mapped("instruct", {"messages": [user("a"), calling, result, assistant("b")], "tools": [TRACK]})
    assert (prompt, label) == ([TOOLS, user("a"), stored, {**result}], "b")
    prompt, label, _ = mapped("instruct", {"messages": [user("a"), calling], "tools": [TRACK]})
    assert json.loads(label) == [stored]
    assert mapped("instruct", {"text": messages.dump(prompt), "label": label})[:2] == (prompt, label)


def test_the_answers_of_all_turns_are_counted():
    rows = chat_formats.read(
        table({"messages": [*EARLIER, *EARLIER, user("c"), assistant("d")]}, {"messages": EARLIER}), "instruct"
    )
    assert rows.counts == AnswerCounts(conversations=2, answers=4, earlier=2, unlearned=0)


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
    "'boss' is not a known role: use system, developer, user": (
        "instruct",
        {"messages": [user("a"), {"role": "boss", "content": "b"}]},
    ),
    "'narrator' is not a known from: use system, developer": (
        "instruct",
        {"conversations": [{"from": "narrator", "value": "b"}]},
    ),
    "comes last, and the model learns only what the assistant says": (
        "instruct",
        {"messages": [user("a"), assistant("b"), user("thanks")]},
    ),
    "has no question": ("instruct", {"messages": [SYSTEM, assistant("b")]}),
    "holds 'reasoning_content', which Retune cannot train on": (
        "instruct",
        {"messages": [user("a"), {**assistant("b"), "reasoning_content": "c"}]},
    ),
    "is not a call of a function": (
        "instruct",
        {"messages": [user("a"), {**assistant("b"), "tool_calls": [{"id": "1"}]}]},
    ),
    "None is the content of a message: give it words": (
        "instruct",
        {"messages": [user("a"), {"role": "assistant", "content": None}]},
    ),
    "'image_url' is a part of a message that is no text": (
        "instruct",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, assistant("b")]},
    ),
    "has answers of weight 0 alone": ("instruct", {"messages": [user("a"), {**assistant("b"), "weight": 0}]}),
    "is not a weight": ("instruct", {"messages": [user("a"), {**assistant("b"), "weight": 2}]}),
    "is not a history": ("instruct", {"instruction": "a", "output": "b", "history": [["c"]]}),
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
    fine = {name: None if name == "history" else good.get(name, "a") for name in record}
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
