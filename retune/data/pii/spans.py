"""What a piece of personal or secret data is, and which of two that overlap counts."""

import bisect
import re
from collections.abc import Iterable
from dataclasses import dataclass

# The most specific first: a type with a checksum or a fixed shape comes before one that is any group of digits.
TYPES = (
    "url_credentials",
    "iban",
    "card",
    "secret",
    "email",
    "national_id",
    "mac",
    "ip",
    "date_of_birth",
    "phone",
    "address",
    "name",
)
RANKS = {name: rank for rank, name in enumerate(TYPES)}
PLACEHOLDER = re.compile(rf"<({'|'.join(name.upper() for name in TYPES)})_([0-9a-f]{{1,16}})>")


@dataclass(frozen=True, slots=True)
class Span:
    """`value` stands in a text from `start` to `end`, and is personal or secret data of this type."""

    type: str
    start: int
    end: int
    value: str


def without_overlaps(spans: Iterable[Span]) -> list[Span]:
    """In the order of the text; where some overlap, the most specific type stays, then the longest."""
    accepted: list[Span] = []
    for span in sorted(spans, key=lambda span: (RANKS[span.type], span.start - span.end, span.start)):
        place = bisect.bisect_left(accepted, span.start, key=lambda other: other.start)
        before = accepted[place - 1].end if place else 0
        after = accepted[place].start if place < len(accepted) else span.end
        if before <= span.start and span.end <= after:
            accepted.insert(place, span)
    return accepted


def around(text: str, start: int, end: int) -> tuple[str, str]:
    """What stands just before and just after, where a word may say what a number is."""
    return text[max(0, start - 40) : start], text[end : end + 16]


def mentions(text: str, words: Iterable[str]) -> bool:
    """Whether one of `words`, in small letters, may stand in the text in any case: a quick look before a pattern."""
    folded = text.casefold()
    if not text.isascii():  # for a pattern that ignores case, the Turkish letters are an i too
        folded = folded.replace("\u0131", "i").replace("\u0307", "")
    return any(word in folded for word in words)
