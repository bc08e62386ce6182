"""Where personal and secret data stands in a text.

    find("Write to ann@example.org", config)    # [Span("email", 9, 24, "ann@example.org")]

Every pattern is bounded or possessive, so the time grows with the length of the text and no text makes it explode.
All that is found has a digit or an @ in it, so a text without them costs a microsecond: names, which have neither, are
found only by a model that the user gives.
"""

import re
from collections.abc import Callable, Iterable, Iterator

from retune.config.personal_data import Pii
from retune.data.pii import contacts, credentials, network, numbers, places
from retune.data.pii.spans import PLACEHOLDER, Span, without_overlaps

NameFinder = Callable[[str], Iterable[tuple[int, int]]]  # where names stand in a text: start and end of each
WORTH_A_LOOK = re.compile(r"[\d@＠﹫]|[(\[]at[)\]]", re.IGNORECASE)
DIGIT = re.compile(r"\d")
OPAQUE = "\x00"  # what a placeholder is for the patterns: no letter, no digit, no space
LEAST_DIGITS = 4  # of an IP address or an Indian tax id, the shortest numbers


def find(text: str, config: Pii, name_finder: NameFinder | None = None) -> list[Span]:
    """What is personal or secret in `text`, in its order, without overlaps. Placeholders are neither."""
    if not (name_finder or WORTH_A_LOOK.search(text)):
        return []
    masked = PLACEHOLDER.sub(lambda match: OPAQUE * len(match[0]), text) if "<" in text else text
    spans = [*_spans(masked, config)]
    if name_finder:
        spans += [Span("name", start, end, masked[start:end]) for start, end in name_finder(masked)]
    return without_overlaps(span for span in spans if OPAQUE not in span.value)


def _spans(text: str, config: Pii) -> Iterator[Span]:
    if contacts.AT.search(text):
        yield from contacts.find_emails(text)
    digits = sum(1 for _ in zip(range(contacts.LEAST), DIGIT.finditer(text), strict=False))
    if not digits:
        return
    if "://" in text:
        yield from network.find_url_credentials(text)
    yield from credentials.find_secrets(text)
    yield from places.find_addresses(text)
    yield from network.find_macs(text)
    if digits < LEAST_DIGITS:
        return
    yield from network.find_ips(text)
    yield from numbers.find_ids_by_shape(text)
    yield from places.find_birth_dates(text)
    if digits < contacts.LEAST:
        return
    candidates = numbers.numbers(text, contacts.LEAST)
    yield from numbers.find_numbers(text, candidates)
    yield from numbers.find_ibans(text)
    yield from contacts.find_phones(text, candidates, config.phone_regions)
