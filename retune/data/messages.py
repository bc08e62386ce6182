"""Messages: who said what, and the text in which a row stores them.

    [{"role":"system","content":"Be kind."},{"role":"user","content":"Where is my order?"}]

JSON without spaces and with the keys in this order, so that equal conversations are equal texts.
"""

import json
from collections.abc import Callable

Messages = list[dict[str, str]]
ROLES = ("system", "user", "assistant", "tool")
KEYS = {"role", "content"}


def dump(messages: Messages) -> str:
    plain = [{"role": message["role"], "content": message["content"]} for message in messages]
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


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
        and value.keys() == KEYS
        and value["role"] in ROLES
        and isinstance(value["content"], str)
    )


def words(messages: Messages) -> str:
    """The contents without the roles, to measure and to compare."""
    return "\n".join(message["content"] for message in messages)


def cleaned(messages: Messages, clean: Callable[[str], str]) -> Messages:
    return [{"role": message["role"], "content": clean(message["content"])} for message in messages]
