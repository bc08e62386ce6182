"""One conversation as other tools write it becomes messages of ours."""

import pytest

from retune.data import chat_messages
from retune.data.readers.table import NumberText

ROLES = {
    "system": "system", "developer": "system", "human": "user", "user": "user", "gpt": "assistant",
    "chatgpt": "assistant", "bing": "assistant", "bard": "assistant", "Assistant": "assistant", "tool": "tool",
    "observation": "tool",
}  # fmt: skip


@pytest.mark.parametrize("name", ROLES)
@pytest.mark.parametrize("keys", [("role", "content"), ("from", "value")])
def test_the_many_names_of_who_speaks_are_known(name, keys):
    turn = [dict(zip(keys, (name, "words"), strict=True))]
    assert chat_messages.conversation(turn) == [{"role": ROLES[name], "content": "words"}]


def test_a_list_as_pandas_writes_it_into_a_csv_file_is_a_conversation():
    turns = [{"role": "user", "content": 'it\'s "here"\n'}, {"role": "assistant", "content": "ok", "name": None}]
    assert chat_messages.from_json(str(turns)) == turns
    for text in ("[{'role': open('x')}]", "[{'role': ", "{'a'" + "[" * 9999, "it's {'here'}"):
        assert chat_messages.from_json(text) == text


def test_the_parts_of_a_message_become_one_text():
    parts = [{"type": "text", "text": "Where is it?"}, {"type": "text", "text": "My order."}]
    (message,) = chat_messages.conversation([{"role": "user", "content": parts}])
    assert message["content"] == "Where is it?\nMy order."


CALLS = {
    "OpenAI": {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {
        "name": "track", "arguments": '{"order": 7}'}}]},
    "OpenAI before tools": {"role": "assistant", "content": None,
        "function_call": {"name": "track", "arguments": '{"order": 7}'}},
    "ShareGPT": {"from": "function_call", "value": '{"name": "track", "arguments": {"order": 7}}'},
    "a file whose numbers stay as written": {"role": "assistant", "content": "", "tool_calls": [
        {"function": {"name": "track", "arguments": {"order": NumberText("7")}}}]},
    "Parquet": {"role": "assistant", "content": None, "name": None, "tool_calls": [
        {"function": {"name": "track", "arguments": {"order": 7, "parcel": None}}}]},
}  # fmt: skip


@pytest.mark.parametrize("form", CALLS)
def test_a_call_of_a_function_has_one_form(form):
    (message,) = chat_messages.conversation([CALLS[form]])
    call = {"type": "function", "function": {"name": "track", "arguments": {"order": 7}}}
    assert message == {"role": "assistant", "content": "", "tool_calls": [call]}


def test_functions_may_be_a_list_of_either_form_or_its_text():
    track = {"name": "track", "parameters": {"type": "object"}}
    whole = [{"type": "function", "function": track}]
    assert chat_messages.functions(whole) == chat_messages.functions([track]) != []
    assert chat_messages.functions("[]") == chat_messages.functions(None) == []


def test_a_dialogue_has_both_speakers_at_the_start_of_a_paragraph():
    assert chat_messages.dialogue("\n\nHuman: a\n\nb\n\nAssistant: c") == [
        {"role": "user", "content": "a\n\nb"},
        {"role": "assistant", "content": "c"},
    ]
    for text in ("What does Human: mean?", "Human: a", "Assistant: a\n\nHuman: b", "x\n\nHuman: a\n\nAssistant: b"):
        assert chat_messages.dialogue(text) is None
