"""Messages: what was said, by whom, and the one text in which a row keeps it.

    [{"role":"system","content":"Be kind."},{"role":"user","content":"Where is my order?"}]

JSON without spaces, the keys in this order, so that one conversation is one text.
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
    """The messages that `text` holds, or None if it holds something else, such as words."""
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
    """What was said, without by whom: to measure and to compare."""
    return "\n".join(message["content"] for message in messages)


def cleaned(messages: Messages, clean: Callable[[str], str]) -> Messages:
    return [{"role": message["role"], "content": clean(message["content"])} for message in messages]
