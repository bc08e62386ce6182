"""The words in a text that may be JSON: a text, an answer of a model in JSON, or messages (`retune.data.messages`).

A placeholder in the middle of JSON could break it. So in JSON each string and number is changed by itself, as what it
says, and put back as a string; all between them stays byte for byte, and so do the keys.
"""

import json
import re
from collections.abc import Callable

Change = Callable[[str, str], str]  # words, and what stands before them, which says what they are -> the new words
TOKEN = re.compile(r'(?P<string>"(?:[^"\\]++|\\.)*+")(?P<key>\s*+:)?|-?\d[\d.eE+-]*+')
FIXED = ("role", "type")  # keys whose values are words of the format


def rewrite(text: str, change: Change, before: str = "") -> str:
    """The text with its words changed. JSON stays JSON of the same shape."""
    return _rewrite_json(text, change) if _is_json(text) else change(text, before)


def _is_json(text: str) -> bool:
    start = text.lstrip()[:1]
    if start not in ("{", "[", '"'):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _rewrite_json(text: str, change: Change) -> str:
    key = ""

    def one(token: re.Match[str]) -> str:
        nonlocal key
        if token["key"]:
            key = json.loads(token["string"])
            return token[0]
        words = json.loads(token[0]) if token["string"] else token[0]
        after = words if key in FIXED else rewrite(words, change, f"{key}: " if key else "")
        return token[0] if after == words else json.dumps(after, ensure_ascii=False)

    return TOKEN.sub(one, text)
