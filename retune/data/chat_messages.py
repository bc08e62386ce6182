"""One conversation as other tools write it, read into messages (`retune.data.messages`).

OpenAI and Hugging Face write `role` and `content`, ShareGPT `from` and `value`, each with names of its own for who
speaks; Anthropic's preferences are one text of "Human:" and "Assistant:". What cannot become messages is a `Misread`.
"""

import ast
import json
import re
import reprlib
from typing import Any

from retune.data.messages import Message, Messages
from retune.data.readers.table import NO_TEXT, NoText, as_numbers, word

SPEAKERS = {
    "system": ("system", "developer"),
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "chatgpt", "bing", "bard", "claude", "gemini", "model", "bot", "chatbot", "ai"),
    "tool": ("tool", "function", "observation", "function_response", "tool_response", "ipython"),
    "call": ("function_call", "tool_call"),  # of the assistant: its words are what it calls
}
ROLE_OF = {name: role for role, names in SPEAKERS.items() for name in names}
SPEAKER_KEYS, WORD_KEYS = {"role", "from"}, {"content", "value"}
TEXT_PARTS = ("text", "input_text", "output_text")
NO_CONVERSATION = "no conversation"  # a reason
DIALOGUE = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
PYTHON = re.compile(r"\s*\[?\s*\{\s*'")
SHAPE = '[{"role": ..., "content": ...}, ...]'


class Misread(Exception):
    """A cell is not a conversation. Says why and what to do; the caller adds the place.

    `reason` is one of few: rows are counted by it.
    """

    def __init__(self, value: Any, why: str, reason: str = NO_CONVERSATION) -> None:
        super().__init__(f"{reprlib.repr(value)} {why}")
        self.reason = reason


def text_of(value: Any) -> str:
    try:
        return word(value)
    except NoText as error:
        reason = NO_CONVERSATION if error.reason == NO_TEXT else error.reason
        raise Misread(value, f"is not a text: {error.remedy}", reason) from None


def conversation(value: Any) -> Messages:
    """A list of messages, also one that a CSV file holds as JSON."""
    value = from_json(value)
    if not isinstance(value, list) or not value:
        raise Misread(value, f"is not a list of messages: write {SHAPE}")
    return [_message(each) for each in value]


def from_json(value: Any) -> Any:
    """What a text holds in JSON, or in Python's way, as pandas writes a list into a CSV file; else the value."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value) if PYTHON.match(value) else json.loads(value)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return value


def dialogue(text: str) -> Messages | None:
    """The messages of a text such as "\\n\\nHuman: ...\\n\\nAssistant: ..."; None if it is another text."""
    turns = DIALOGUE.split(text)
    if turns[0].strip() or turns[1::2][:1] != ["Human"] or "Assistant" not in turns[1::2]:
        return None
    return [
        {"role": ROLE_OF[speaker.lower()], "content": words.strip()}
        for speaker, words in zip(turns[1::2], turns[2::2], strict=True)
    ]


def functions(value: Any) -> Messages:
    """The message that names the functions that may be called; none without any."""
    value = from_json(value)
    if value in (None, "", [], {}):
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise Misread(value, "is not a list of functions: give each one's name, description and parameters")
    listed = [as_numbers(_without_nulls(each if "function" in each else _function(each))) for each in value]
    return [{"role": "tools", "content": json.dumps(listed, ensure_ascii=False, separators=(",", ":"))}]


def _function(value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": value}


def _without_nulls(value: Any) -> Any:
    """Parquet gives each object the keys of all."""
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def _message(value: Any) -> Message:
    speaker, words = (_first(value, keys) for keys in (SPEAKER_KEYS, WORD_KEYS))
    if speaker is None or words is None:
        raise Misread(value, "is not a message: give it role and content")
    role = _role(value[speaker], speaker)
    more = {key: cell for key, cell in value.items() if key not in (speaker, words) and cell not in (None, [], "", {})}
    calls = more.pop("tool_calls", None) or [*filter(None, [more.pop("function_call", None)])]
    if role == "call":
        role, calls, content = "assistant", from_json(text_of(value[words])), ""
        calls = calls if isinstance(calls, list) else [calls]
    else:
        content = _content(value[words], bool(calls))
    message: Message = {"role": role, "content": content}
    if "name" in more:
        message["name"] = text_of(more.pop("name"))
    if _weight(more.pop("weight", 1)) == 0 and role == "assistant":
        message["weight"] = 0
    if calls:
        message["tool_calls"] = [_call(each) for each in calls]
    if "tool_call_id" in more:
        message["tool_call_id"] = text_of(more.pop("tool_call_id"))
    if more:
        raise Misread(
            value, f"holds {next(iter(more))!r}, which Retune cannot train on: remove it, or leave the row out"
        )
    return message


def _first(value: Any, keys: set[str]) -> str | None:
    return next((key for key in value if key in keys), None) if isinstance(value, dict) else None


def _role(value: Any, key: str) -> str:
    role = ROLE_OF.get(value.strip().lower()) if isinstance(value, str) else None
    if role is None:
        raise Misread(value, f"is not a known {key}: use {', '.join(ROLE_OF)}")
    return role


def _content(value: Any, calls: bool) -> str:
    """The words of a message: a text, or parts that are texts."""
    if value is None and not calls:
        raise Misread(value, "is the content of a message: give it words, or leave the row out")
    if not isinstance(value, list):
        return text_of(value)
    for part in value:
        if not isinstance(part, dict) or part.get("type", "text") not in TEXT_PARTS:
            kind = part.get("type") if isinstance(part, dict) else part
            raise Misread(kind, "is a part of a message that is no text, and Retune learns texts alone: remove the row")
    return "\n".join(text_of(part.get("text")) for part in value)


def _weight(value: Any) -> int:
    if str(value) not in ("0", "1", "0.0", "1.0", "True", "False"):
        raise Misread(value, "is not a weight: write 1 for an answer to learn, 0 for one that is context only")
    return int(str(value) in ("1", "1.0", "True"))


def _call(value: Any) -> dict[str, Any]:
    """One call in one form: OpenAI's arguments are a text in JSON, those of templates an object."""
    function = value.get("function", value) if isinstance(value, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Misread(value, "is not a call of a function: give it name and arguments")
    arguments = from_json(function.get("arguments") or {})
    if not isinstance(arguments, dict):
        raise Misread(arguments, f"is not the arguments of {function['name']}: write an object")
    named = {"id": value["id"]} if isinstance(value.get("id"), str) else {}
    return named | _function({"name": function["name"], "arguments": as_numbers(_without_nulls(arguments))})
