"""Postal addresses where they are structured, and dates that are said to be of birth."""

import re
from collections.abc import Iterator

from retune.data.pii.spans import Span, around, mentions

WORD = r"[A-ZÀ-ÞĀ-Ž0-9][\w.'’-]{0,30}+"
CITY = r"[A-ZÀ-ÞĀ-Ž][\w.'’-]{1,30}+(?: [A-ZÀ-ÞĀ-Ž][\w.'’-]{1,30}+){0,3}"
UNIT = r"(?:,?\s(?:Apt|Apartment|Suite|Ste|Unit|Flat|Floor|Room)\.? ?[A-Z0-9-]{1,6}\b|,? #\d{1,5}\b)?"
UK = r"[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}\b"
PLACE = rf"(?:,?\s{{1,2}}{CITY},?\s{{1,2}}(?:[A-Z]{{2}}\s{{1,2}}\d{{5}}(?:-\d{{4}})?\b|{UK})|,?\s{UK})?"
CONTINENTAL = rf"(?:,?\s{{1,2}}(?:[A-Z]{{1,2}}-)?\d{{4,5}}(?: [A-Z]{{2}})?\s{CITY})?"
STREETS = (
    "Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Ct|Place|Pl|Square|Sq|Terrace|Way|Close|"
    "Crescent|Parkway|Pkwy|Highway|Hwy|Mews|Gardens|Grove|Circle|Trail"
)
IN_STREETS = 4  # of the patterns; the others have a box
ADDRESSES = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?<![\w.,$€£#-])\d{{1,6}}[A-Za-z]?(?:[-/]\d{{1,4}})? (?:{WORD} ){{1,4}}(?:{STREETS})\b\.?{UNIT}{PLACE}",
        r"(?<!\w)[A-ZÄÖÜ][\w.-]{1,30}?(?:straße|strasse|str\.|weg|platz|allee|gasse|damm|laan|straat|plein|gracht|gatan|"
        rf"steenweg|veien|vej|katu) \d{{1,5}}(?: ?[a-zA-Z])?\b{CONTINENTAL}",
        r"(?<!\w)(?:Rua|Calle|C/|Avenida|Av\.|Paseo|Plaza|Via|Viale|Piazza|Corso|ul\.|ulica|Aleja) "
        rf"(?:(?:d[aeio]s?|dell[ao]|la|el|los|las) ){{0,2}}{WORD}(?: (?:de |da |do |di )?{WORD}){{0,4}}?,? "
        rf"(?:n[ºo°]\.? ?)?\d{{1,5}}\b{CONTINENTAL}",
        r"(?<!\w)\d{1,4}(?: bis| ter)?,? (?:[Rr]ue|[Aa]venue|[Bb]oulevard|[Pp]lace|[Aa]llée|[Cc]hemin|[Qq]uai) "
        rf"(?:d[eu] |des |de la |de l['’]|d['’])?{WORD}(?: {WORD}){{0,4}}{CONTINENTAL}",
        rf"(?<!\w)P\.? ?O\.? ?Box \d{{1,7}}\b{PLACE}|(?<!\w)Postfach \d[\d ]{{0,8}}\d\b{CONTINENTAL}",
        r"(?<!\w)(?:PSC|CMR|Unit) \d{1,5},? Box \d{1,5}\s[AFD]PO A[AEP] \d{5}\b",
    )
)
BIRTH = re.compile(
    r"\bborn\b|birth|\bd\.?o\.?b\b|\bgeb(?:oren|\.|urts)|\bnée? (?:le|en)|naissance|nacid|nacimiento|\bnat[oa] il|"
    r"nascit|nascid|nasciment|geboorte|urodz",
    re.IGNORECASE,
)
BIRTH_WORDS = (
    *("born", "birth", "dob", "d.o", "do.b", "d.ob", "geb", "n\u00e9", "naissance", "nacid", "nacimiento"),
    *("nato il", "nata il", "nascit", "nascid", "nasciment", "urodz"),
)
DATE = re.compile(
    r"(?<![\w./-])(?:(?P<year>\d{4})[./-](?P<month>\d{1,2})[./-](?P<day>\d{1,2})"
    r"|(?P<one>\d{1,2})[./ -]{1,2}(?P<two>\d{1,2})[./ -]{1,2}(?:\d{4}|\d{2})"
    r"|\d{1,2}(?:st|nd|rd|th)?\.? (?:de |of )?[^\W\d_]{3,12}\.?,? (?:de )?(?:18|19|20)\d{2}"
    r"|[^\W\d_]{3,12}\.? \d{1,2}(?:st|nd|rd|th)?,? (?:18|19|20)\d{2})(?![\w/-])"
)


def find_addresses(text: str) -> Iterator[Span]:
    for pattern in ADDRESSES if "Box" in text or "Postfach" in text else ADDRESSES[:IN_STREETS]:
        for match in pattern.finditer(text):
            value = match[0].rstrip(".")  # of the sentence
            yield Span("address", match.start(), match.start() + len(value), value)


def find_birth_dates(text: str) -> Iterator[Span]:
    if not (mentions(text, BIRTH_WORDS) and BIRTH.search(text)):
        return
    for match in DATE.finditer(text):
        if BIRTH.search(around(text, *match.span())[0]) and _is_date(match):
            yield Span("date_of_birth", *match.span(), match[0])


def _is_date(match: re.Match[str]) -> bool:
    pair = (match["month"], match["day"]) if match["year"] else (match["one"], match["two"])
    if pair[0] is None:
        return True
    months_and_days = [int(part) for part in pair]
    return min(months_and_days) in range(1, 13) and max(months_and_days) in range(1, 32)
