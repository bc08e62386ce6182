"""What the log of requests keeps of a text, as `serve.log.text` says, and the key by which `retune forget` finds it.

    redacted   the text without personal data, by the settings of `curate.pii`; and its key
    hashed     its key alone
    full       the text as it came; and its key
    none       neither

The key is HMAC-SHA256 of the text as `text_keys.same` compares texts, under a secret of this database, so that a copy
of a row is found though only a hash of it is there. Whoever reads the database can test a guess: the key hides, and
does not protect.
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pandas as pd

from retune.config.personal_data import Pii
from retune.config.request_log import KeptText
from retune.data import row_table, text_keys
from retune.data.pii import redaction
from retune.data.pii.detection import NameFinder

SUBJECT_DIGITS = 32  # of the hash of a subject: 128 bits


@dataclass(frozen=True)
class TextPolicy:
    """How texts are kept. Make one with `text_policy`."""

    mode: KeptText
    pii: Pii
    secret: str | None = field(default=None, repr=False)  # of curate.pii, where an action is hash
    name_finder: NameFinder | None = field(default=None, repr=False)

    def text(self, text: str) -> str | None:
        """What is kept in its place; None: nothing, also where `curate.pii` drops such rows."""
        if self.mode in ("hashed", "none"):
            return None
        if self.mode == "full":
            return storable(text)
        redacted = redaction.redact_row([text], self.pii, self.secret, self.name_finder)
        return None if redacted.dropped(self.pii) else storable(redacted.texts[0])

    def keys(self, texts: Sequence[str], secret: bytes) -> Sequence[str | None]:
        return [None] * len(texts) if self.mode == "none" else keys(texts, secret)


def text_policy(mode: KeptText, pii: Pii) -> TextPolicy:
    """Raises WrongUse if `curate.pii` asks for a secret or a model that is not there."""
    if mode != "redacted":
        return TextPolicy(mode, pii)
    name_finder = None
    if pii.names_model:
        from retune.models import name_model  # torch

        name_finder = name_model.load(pii.names_model)
    return TextPolicy(mode, pii, redaction.secret_of(pii), name_finder)


def keys(texts: Iterable[str], secret: bytes) -> list[str]:
    """The key of each text, in hexadecimal digits."""
    same = text_keys.same(pd.Series([row_table.clean(storable(text)) for text in texts], dtype="object"))
    return [_digest(secret, text) for text in same]


def subject_hash(subject: str, secret: bytes) -> str | None:
    """What is kept of who asked: enough to tell two apart."""
    return _digest(secret, f"subject:{subject}")[:SUBJECT_DIGITS] if subject else None


def storable(text: str) -> str:
    """The text as every database takes it: without NUL and half a surrogate pair."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def _digest(secret: bytes, text: str) -> str:
    return hmac.new(secret, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
