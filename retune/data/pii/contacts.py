"""E-mail addresses and phone numbers. Adapter of phonenumbers.

A phone number has no checksum. With a + it counts where the number is possible; without one where a word such as
"call" says so, or where its groups are a valid number of one of the regions that params name.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import phonenumbers

from retune.data.pii.numbers import Number
from retune.data.pii.spans import Span, around

AT = re.compile(r"[@＠﹫]| ?[(\[]at[)\]] ?", re.IGNORECASE)
BEFORE_AT = ".+'%&=~-_"  # what stands before it beside letters and digits
LONGEST_LOCAL = 64
DOMAIN = re.compile(
    r"(?:[\w-]{1,63}+(?:[.．。]| ?[(\[]dot[)\]] ?)){1,8}(?:xn--[a-z0-9-]{2,59}|[^\W\d_]{2,24})(?![\w@])", re.I
)
NOBODY = ("git",)  # git@host is how a repository is addressed
LIKE_PHONE = re.compile(
    r"(?P<phone>\b(?:tel(?:\b|[eé]f|efon)|phone|fax|mob[ií]l|cell|call|ring(?:ing)?\b|dial|reach|contact|answering|"
    r"sms|text (?:me|us|to)|messages? (?:to|on|at)|whatsapp|signal|viber|desk\b|office\b|home\b|handy|rufnummer|anruf|"
    r"ruf|llam|appel|portable|joindre|bel\b|bellen|chiam|cellular|celular|ligue|ligar|zadzwo|kom[oó]rk|numer tel)|☎|📞)"
    r"|(?P<other>\b(?:order|ticket|invoice|ref(?:erence)?|case|account|acct|tracking|parcel|serial|model|isbn|sku|ean|"
    r"part|item|policy|contract|transaction|version|bestell|rechnung|auftrag|kunden|commande|facture|pedido|factura)"
    r"|(?:\bid|\bno\.?|\bnr\.?|#|[$€£]) ?$)",
    re.IGNORECASE,
)
AFTER = re.compile(r"[ \-:(]{0,3}(?:office|fax|mobile|cell|home|work|phone|tel)\b", re.IGNORECASE)
EXTENSION = re.compile(r"[ ,]{0,2}(?:x|ext\.?|extension) ?\d{1,6}\b", re.IGNORECASE)
PLUS = re.compile(r"\(?\+ ?\(?$")
WORDS = re.compile(r"[^\W\d_]|[☎📞#$€£]")
TIME = re.compile(r":\d")
LEAST, SHORTEST, MOST = 6, 7, 15  # digits
SHORTEST_ABROAD = 8


def find_emails(text: str) -> Iterator[Span]:
    for sign in AT.finditer(text):
        start = end = sign.start()
        while start > max(0, end - LONGEST_LOCAL) and (text[start - 1].isalnum() or text[start - 1] in BEFORE_AT):
            start -= 1
        name = text[start:end].lstrip(BEFORE_AT)
        domain = DOMAIN.match(text, sign.end()) if name and name.lower() not in NOBODY else None
        if domain:
            yield Span("email", end - len(name), domain.end(), text[end - len(name) : domain.end()])


def find_phones(text: str, candidates: Iterable[Number], regions: Sequence[str]) -> Iterator[Span]:
    for number in candidates:
        if len(number.digits) <= MOST and _is_phone(number, text, tuple(regions)):
            start, end = _whole(text, number)
            yield Span("phone", start, end, text[start:end])


def _whole(text: str, number: Number) -> tuple[int, int]:
    """With the + or ( before it, and the extension."""
    sign = PLUS.search(text, max(0, number.start - 4), number.start)
    start = sign.start() if sign else number.start
    if not sign and text[start - 1 : start] == "(" and ")" in text[start : number.end]:
        start -= 1
    extension = EXTENSION.match(text, number.end)
    return start, extension.end() if extension else number.end


def _is_phone(number: Number, text: str, regions: tuple[str, ...]) -> bool:
    before, after = around(text, number.start, number.end)
    if PLUS.search(before):
        return len(number.digits) >= SHORTEST_ABROAD and _is_possible(number.digits)
    if TIME.match(after) or _holds_a_date(number) or number.layout[-1] == 1:  # "555-123-4567 2 times"
        return False
    words = [match.lastgroup for match in LIKE_PHONE.finditer(before)] if WORDS.search(before) else []
    if words == [] and AFTER.match(after):
        words = ["phone"]
    if words:
        return words[-1] == "phone" and (len(number.digits) >= SHORTEST or number.layout == (2, 2, 2))
    if number.digits.startswith("00"):
        return _is_possible(number.digits[2:])
    return len(number.layout) > 1 and any(_is_usual(number.digits, number.layout, region) for region in regions)


def _holds_a_date(number: Number) -> bool:
    return any(
        _is_date(number.layout[at : at + 3], number.digits[sum(number.layout[:at]) :])
        for at in (0, len(number.layout) - 3)
    )


def _is_date(layout: tuple[int, ...], digits: str) -> bool:
    """Whether groups of digits are a year, a month and a day in some order, the year first or last."""
    if len(layout) != 3 or 4 not in (layout[0], layout[2]) or sum(layout) > len("20261231"):
        return False
    ends = layout[0], layout[0] + layout[1]
    groups = int(digits[: ends[0]]), int(digits[ends[0] : ends[1]]), int(digits[ends[1] : sum(layout)])
    year, *rest = groups if layout[0] == 4 else groups[::-1]
    return 1900 <= year < 2100 and min(rest) in range(1, 13) and max(rest) in range(1, 32)


@lru_cache(100_000)
def _is_possible(digits: str) -> bool:
    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(f"+{digits}", None))
    except phonenumbers.NumberParseException:
        return False


@lru_cache(100_000)
def _is_usual(digits: str, layout: tuple[int, ...], region: str) -> bool:
    """Whether it is a valid number of the region, in the groups in which numbers are written there."""
    try:
        number = phonenumbers.parse(digits, region)
    except phonenumbers.NumberParseException:
        return False
    if not phonenumbers.is_valid_number(number):
        return False
    usual = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
    return layout == tuple(map(len, re.findall(r"\d+", usual)))
