"""Card numbers, IBANs and national ids, by their checksums. Adapter of python-stdnum.

Digits that a person groups are read group by group, so that a number before or after does not hide them. A number
whose checksum one in ten or eleven numbers passes counts only where it is grouped as usual, or a word says what it is.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from stdnum import iban as stdnum_iban
from stdnum import luhn
from stdnum.br import cpf
from stdnum.de import idnr
from stdnum.es import dni, nie
from stdnum.fr import nir
from stdnum.gb import nhs
from stdnum.in_ import aadhaar, pan
from stdnum.it import codicefiscale
from stdnum.nl import bsn
from stdnum.pl import pesel
from stdnum.us import ssn

from retune.data.pii.spans import Span, around

SEPARATORS = r"[ .\-/()\u00a0\u2010\u2011\u2013]"
RUN = re.compile(rf"(?<![\w.+])(?<!\d[-,/])(?:\+ ?|\(\+?)?\d++(?:{SEPARATORS}{{1,3}}+\d++)*+(?=\W|x\d|_|$)")
GROUP = re.compile(r"\d+")
SHORTEST_CARD, LONGEST = 12, 19  # digits
MOST_GROUPS, MOST_SINGLE = 8, 2  # groups of a number, and those of one digit
CARD_LAYOUTS = {(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3), (4, 4, 5), (6, 13)}
CARD_PREFIX = re.compile(
    "(?:4|5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720|3[47]|30[0-59]|3[689]|352[89]|35[3-8]|1800|2131"
    "|5018|5020|5038|5[6-8]|6)"
)
CARD_WORDS = re.compile(
    r"\bcc\b|card|credit|debit|visa|maestro|karte|carte|tarjeta|carta|kaart|karta|cart[ãa]o", re.IGNORECASE
)
CARD_LENGTHS = {"4": (13, 16, 19), "34": (15,), "37": (15,), "18": (15,), "21": (15,), "30": (14,), "36": (14,)}
IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ .\-\u2010\u2011\u2013]?[A-Za-z0-9]){11,30}+")
BY_SHAPE = re.compile(
    r"(?<![\w-])(?:(?P<italy>[A-Z]{6}\d{2}[A-Z]\d{2}[A-Z]\d{3}[A-Z])"
    r"|(?P<nie>[XYZ][ -]?\d{7}[ -]?[A-Z])|(?P<dni>\d{1,2}\.\d{3}\.\d{3}-?[A-Z]|\d{8}[ -]?[A-Z])"
    r"|(?P<pan>[A-Z]{3}P[A-Z]\d{4}[A-Z])"
    r"|(?P<nino>(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D])"
    r"|(?P<nir>[1-478] ?\d{2} ?\d{2} ?\d[\dAB] ?\d{3} ?\d{3} ?\d{2}))(?![\w-])",
    re.IGNORECASE,
)
SHAPES: dict[str, Callable[[str], bool]] = {
    "italy": codicefiscale.is_valid,
    "nie": nie.is_valid,
    "dni": lambda value: dni.is_valid(value.replace(".", "")),
    "pan": pan.is_valid,
    "nino": lambda _value: True,  # has no checksum: its letters and groups must do
    "nir": nir.is_valid,
}


@dataclass(frozen=True)
class NationalId:
    """A national id of digits alone."""

    check: Any  # the module of python-stdnum
    words: str  # one of them near it says what it is
    digits: int
    layouts: tuple[tuple[int, ...], ...] = ()  # groups that people write it in ...
    separators: str = ""  # ... and that count without a word, with these between the groups


NATIONAL_IDS = (
    NationalId(ssn, r"\bssn\b|social.security", 9, ((3, 2, 4),), "--"),
    NationalId(nhs, r"\bnhs\b|health.(?:service|number)", 10, ((3, 3, 4),)),
    NationalId(idnr, r"steuer|\bid-?nr|\btin\b|tax", 11, ((2, 3, 3, 3),)),
    NationalId(bsn, r"\bbsn\b|burgerservice|sofinummer", 9, ((4, 2, 3), (3, 3, 3), (4, 3, 2))),
    NationalId(pesel, r"pesel", 11),
    NationalId(cpf, r"\bcpf\b", 11, ((3, 3, 3, 2),), "..-"),
    NationalId(aadhaar, r"aa?dhaa?r|\buid(?:ai)?\b", 12, ((4, 4, 4),), "  "),
)
ID_WORDS = {each: re.compile(each.words, re.IGNORECASE) for each in NATIONAL_IDS}
ID_DIGITS = {each.digits for each in NATIONAL_IDS}


@dataclass(frozen=True, slots=True)
class Number:
    """Neighbouring groups of digits in a text."""

    start: int
    end: int
    digits: str
    layout: tuple[int, ...]
    separators: str  # between the groups


def numbers(text: str, least: int) -> list[Number]:
    """Every number of `least` to 19 digits that begins and ends at a space, or where its digits and signs do."""
    return [
        number
        for run in RUN.finditer(text)
        if len(run[0]) >= least
        for number in _parts(text, [group.span() for group in GROUP.finditer(text, *run.span())], least)
    ]


def _parts(text: str, groups: list[tuple[int, int]], least: int) -> Iterator[Number]:
    between = [text[end:start] for (_, end), (start, _) in itertools.pairwise(groups)]
    for first in range(len(groups)):
        if first and " " not in between[first - 1]:
            continue
        count = single = 0
        for last in range(first, min(first + MOST_GROUPS, len(groups))):
            size = groups[last][1] - groups[last][0]
            count, single = count + size, single + (size == 1)
            if count > LONGEST or single > MOST_SINGLE:
                break
            if count >= least and (last + 1 == len(groups) or " " in between[last]):
                part = groups[first : last + 1]
                digits = "".join(text[start:end] for start, end in part)
                if not digits.isascii():
                    digits = "".join(str(int(digit)) for digit in digits)
                layout = tuple(end - start for start, end in part)
                yield Number(part[0][0], part[-1][1], digits, layout, "".join(between[first:last]))


def find_numbers(text: str, candidates: Iterable[Number]) -> Iterator[Span]:
    """Cards and national ids of digits."""
    for number in candidates:
        if _is_card(number, text):
            kind = "card"
        elif len(number.digits) in ID_DIGITS and any(_is_id(number, each, text) for each in NATIONAL_IDS):
            kind = "national_id"
        else:
            continue
        yield Span(kind, number.start, number.end, text[number.start : number.end])


def _is_card(number: Number, text: str) -> bool:
    digits, count = number.digits, len(number.digits)
    if count < SHORTEST_CARD or len(set(number.separators)) > 1:
        return False
    if number.separators and (number.separators[0] in "()" or number.layout not in CARD_LAYOUTS):
        return False
    if not luhn.is_valid(digits):
        return False
    lengths = CARD_LENGTHS.get(digits[0]) or CARD_LENGTHS.get(digits[:2]) or range(SHORTEST_CARD, LONGEST + 1)
    # Without the prefix of an issuer, or no longer than a bar code, one number in ten passes: a word must say it.
    clear = bool(CARD_PREFIX.match(digits)) and count in lengths and count > len("4006381333931")
    return clear or any(map(CARD_WORDS.search, around(text, number.start, number.end)))


def _is_id(number: Number, kind: NationalId, text: str) -> bool:
    if len(number.digits) != kind.digits or not (len(number.layout) == 1 or number.layout in kind.layouts):
        return False
    if not kind.check.is_valid(number.digits):
        return False
    clear = bool(kind.separators) and number.separators == kind.separators
    return clear or any(map(ID_WORDS[kind].search, around(text, number.start, number.end)))


def find_ids_by_shape(text: str) -> Iterator[Span]:
    """National ids that mix letters and digits, or are long enough to be nothing else."""
    for match in BY_SHAPE.finditer(text):
        if match.lastgroup and SHAPES[match.lastgroup](match[0]):
            yield Span("national_id", *match.span(), match[0])


def find_ibans(text: str) -> Iterator[Span]:
    for match in IBAN.finditer(text):
        start, longest = match.span()
        for end in range(longest, start + 14, -1):
            ends_word = not text[end - 1 : end + 1].isalnum() if end < len(text) else True
            if ends_word and text[end - 1].isalnum() and stdnum_iban.is_valid(text[start:end], check_country=False):
                yield Span("iban", start, end, text[start:end])
                break
