"""Messages: who said what, and the text in which a row stores them.

    [{"role":"system","content":"Be kind."},{"role":"user","content":"Where is my order?"}]

JSON without spaces and with the keys in this order, so that equal conversations are equal texts. Beside these two keys
a message may have:

    name          who of several speakers says it
    weight        0: an answer that is context only and never learned
    tool_calls    what the assistant asks of functions: [{"type":"function","function":{"name":...,"arguments":{...}}}]
    tool_call_id  which call a message of role `tool` answers

The functions that may be called stand in a first message of role `tools`, as a list in JSON.

An answer is mostly a text. One that calls functions, or goes on for several turns, is stored as messages too, and so is
the missing answer of a row that has only one of two: `NO_ANSWER`.
"""

import json
from collections.abc import Callable
from typing import Any

Message = dict[str, Any]
Messages = list[Message]
ROLES = ("system", "user", "assistant", "tool", "tools")
EXTRA: dict[str, Callable[[Any], bool]] = {  # further keys in their order, and which values they may have
    "name": lambda value: isinstance(value, str),
    "weight": lambda value: value == 0,
    "tool_calls": lambda value: isinstance(value, list) and all(isinstance(call, dict) for call in value),
    "tool_call_id": lambda value: isinstance(value, str),
}
NO_ANSWER = '[{"role":"assistant","content":"","weight":0}]'


def dump(messages: Messages) -> str:
    ordered = [{key: message[key] for key in ("role", "content", *EXTRA) if key in message} for message in messages]
    return json.dumps(ordered, ensure_ascii=False, separators=(",", ":"))


def parse(text: str) -> Messages | None:
    """The messages in `text`; None if it holds something else, such as plain text."""
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return None
    return value if isinstance(value, list) and value and all(map(is_message, value)) else None


def is_message(value: object) -> bool:
    return (
        isinstance(value, dict)
        and {"role", "content"} <= value.keys() <= {"role", "content", *EXTRA}
        and value["role"] in ROLES
        and isinstance(value["content"], str)
        and all(fits(value[key]) for key, fits in EXTRA.items() if key in value)
    )


def words(messages: Messages) -> str:
    """The contents without the roles, to measure and to compare."""
    return "\n".join(map(_words, messages))


def _words(message: Message) -> str:
    calls = [json.dumps(call, ensure_ascii=False) for call in message.get("tool_calls", ())]
    return "\n".join([*([message["content"]] if message["content"] or not calls else []), *calls])


def cleaned(messages: Messages, clean: Callable[[str], str]) -> Messages:
    return [{**message, "content": clean(message["content"])} for message in messages]


def learnable(messages: Messages) -> list[int]:
    """The places of answers that can be learned: what the assistant says after a question, unless it has weight 0."""
    first = next((place for place, message in enumerate(messages) if message["role"] == "user"), len(messages))
    return [
        place
        for place, message in enumerate(messages)
        if place > first and message["role"] == "assistant" and "weight" not in message and _words(message).strip()
    ]


def answer(text: str) -> Messages:
    """The messages of an answer as a row stores it: nearly always one, of the assistant; none for `NO_ANSWER`."""
    if text == NO_ANSWER:
        return []
    messages = parse(text) if text.startswith('[{"role":"assistant"') else None
    return messages if messages and not _is_plain(messages) else [{"role": "assistant", "content": text}]


def dump_answer(messages: Messages) -> str:
    """The text in which a row stores an answer."""
    content: str = messages[0]["content"]
    return content if _is_plain(messages) else dump(messages)


def _is_plain(messages: Messages) -> bool:
    return len(messages) == 1 and messages[0].keys() == {"role", "content"}
