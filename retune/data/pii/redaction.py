"""Texts without personal and secret data: a placeholder stands where it was.

    redact("Write to ann@example.org", config, secret=None)    # ("Write to <EMAIL_1>", {"email": 1})

One value has one placeholder in all texts of a row, so that a model still learns who writes to whom. Action hash makes
it of a keyed hash (HMAC-SHA256) instead of a number: then it is the same in every row, and nobody without the secret
can try values to find the one behind it.

Redacting twice changes nothing more: after each pass the texts are looked through again, until nothing stands in them.
"""

import hashlib
import hmac
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from retune.config.personal_data import Pii
from retune.data.pii import leaves
from retune.data.pii.detection import WORTH_A_LOOK, NameFinder, find
from retune.data.pii.spans import PLACEHOLDER, TYPES, Span
from retune.errors import WrongUse

LEAST_SECRET = 16  # characters
HASH_DIGITS = 12
SIGNS = re.compile(r"[\s().\-/+]+")
LEAST_REPEATED = 6  # characters of a value that is also replaced where nothing else says what it is


@dataclass(frozen=True)
class Redacted:
    """The texts of one row, as they may be learned from."""

    texts: tuple[str, ...]
    counts: Mapping[str, int] = field(default_factory=dict)  # values that were replaced, by type

    def dropped(self, config: Pii) -> tuple[str, ...]:
        """The types in this row whose rows must not be learned from."""
        return tuple(name for name in self.counts if getattr(config, name) == "drop")


def redact(text: str, config: Pii, secret: str | None = None) -> tuple[str, dict[str, int]]:
    """One text, and how many values of each type were replaced."""
    redacted = redact_row([text], config, secret)
    return redacted.texts[0], dict(redacted.counts)


def redact_row(
    texts: Sequence[str], config: Pii, secret: str | None = None, name_finder: NameFinder | None = None
) -> Redacted:
    """The texts of a row, which share their placeholders. What action drop is for is replaced too."""
    if not (name_finder or any(map(WORTH_A_LOOK.search, texts))):
        return Redacted(tuple(texts))
    row = _Row(config, secret, name_finder, texts)
    before: tuple[str, ...] = ()
    after = tuple(texts)
    while after != before:
        before = after
        after = tuple(leaves.rewrite(text, row.replace_spans) for text in before)
        if row.values:
            after = tuple(leaves.rewrite(text, row.replace_repeated) for text in after)
    return Redacted(after, dict(row.counts))


def secret_of(config: Pii) -> str | None:
    """The secret that the environment holds. Raises WrongUse if an action needs it and it is not there, or is short."""
    hashed = [name for name in TYPES if getattr(config, name) == "hash"]
    if not hashed:
        return None
    if config.secret_env is None:
        raise WrongUse(
            f"curate.pii.{hashed[0]} is hash, and curate.pii.secret_env names no environment variable: name the one"
            " that holds the secret, or write redact"
        )
    secret = os.environ.get(config.secret_env, "")
    if len(secret) < LEAST_SECRET:
        raise WrongUse(
            f"the environment variable {config.secret_env}, which keys the hashes of curate.pii, has {len(secret)}"
            f" characters: export {config.secret_env} with {LEAST_SECRET} or more, such as `openssl rand -hex 32` gives"
        )
    return secret


class _Row:
    """The placeholders of one row."""

    def __init__(self, config: Pii, secret: str | None, name_finder: NameFinder | None, texts: Sequence[str]) -> None:
        self._config, self._secret, self._name_finder = config, secret, name_finder
        self._keep = {_same(value) for value in config.keep}
        self._placeholders: dict[tuple[str, str], str] = {}
        self._last: Counter[str] = Counter()  # number of the last placeholder, by type
        for placeholder in (match for text in texts if "<" in text for match in PLACEHOLDER.finditer(text)):
            if placeholder[2].isdigit():
                self._last[placeholder[1]] = max(self._last[placeholder[1]], int(placeholder[2]))
        self.values: dict[str, tuple[str, str]] = {}  # value -> type and placeholder
        self.counts: Counter[str] = Counter()

    def replace_spans(self, words: str, before: str) -> str:
        """The words with a placeholder for each value that a pattern finds in them."""
        spans = find(before + words, self._config, self._name_finder)
        parts, end = [], len(before)
        for span in spans:
            if span.start >= len(before) and self._must_go(span):
                parts += [(before + words)[end : span.start], self._placeholder(span)]
                end = span.end
        return "".join([*parts, (before + words)[end:]])

    def replace_repeated(self, words: str, _before: str) -> str:
        """The words with a placeholder for each value of the row that no pattern finds here."""
        for value, (kind, placeholder) in self.values.items():
            if value in words:
                alone = rf"(?<!\w){re.escape(value)}(?!\w)"
                words, count = re.subn(alone, placeholder, words)
                self.counts[kind] += count
        return words

    def _must_go(self, span: Span) -> bool:
        return getattr(self._config, span.type) != "keep" and _same(span.value) not in self._keep

    def _placeholder(self, span: Span) -> str:
        self.counts[span.type] += 1
        key = (span.type, _same(span.value))
        if key not in self._placeholders:
            self._placeholders[key] = self._new_placeholder(*key)
        if len(span.value) >= LEAST_REPEATED and re.search(r"[\d@]", span.value):
            self.values[span.value] = (span.type, self._placeholders[key])
        return self._placeholders[key]

    def _new_placeholder(self, kind: str, value: str) -> str:
        name = kind.upper()
        if getattr(self._config, kind) == "hash":
            if self._secret is None:
                raise WrongUse(f"curate.pii.{kind} is hash, which needs a secret: set curate.pii.secret_env, or redact")
            digest = hmac.new(self._secret.encode(), f"{kind}:{value}".encode(), hashlib.sha256).hexdigest()
            return f"<{name}_{digest[:HASH_DIGITS]}>"
        self._last[name] += 1
        return f"<{name}_{self._last[name]}>"


def _same(value: str) -> str:
    """What two spellings of one value share."""
    return SIGNS.sub("", value).casefold()
