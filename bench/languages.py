"""How often the language of a short text is right, and how many texts a second: ours beside lingua.

    pip install Django wagtail polib                   # their translations are the texts
    pip install lingua-language-detector               # to see it too
    python bench/languages.py

Up to 250 translated messages of each language, of 25 to 400 characters without the names of variables. Both choose
among the same languages, then among all that they know.
"""

import importlib
import random
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from retune.data import languages

CODES = ("cs", "da", "de", "en", "es", "fr", "it", "nl", "pl", "pt", "sv", "tr")
EACH, SEED = 250, 17
VARIABLE = re.compile(r"%\(\w+\)[sd]|%[sd]|\{\w*\}|<[^>]+>")


def messages() -> list[tuple[str, str]]:
    """(text, code) of translated messages, in a fixed order."""
    import polib

    rows: set[tuple[str, str]] = set()
    for package in ("django", "wagtail"):
        root = Path(str(importlib.import_module(package).__file__)).parent
        for code in CODES:
            for file in root.rglob(f"locale/{code}/LC_MESSAGES/*.po"):
                for entry in polib.pofile(str(file)):
                    if entry.msgstr and entry.msgstr != entry.msgid:
                        rows |= {(plain(entry.msgstr), code), (plain(entry.msgid), "en")}
    usable = sorted(row for row in rows if 25 <= len(row[0]) <= 400)
    random.Random(SEED).shuffle(usable)
    return [row for code in CODES for row in [row for row in usable if row[1] == code][:EACH]]


def plain(text: str) -> str:
    return VARIABLE.sub("", text).strip()


def lingua(codes: Sequence[str]) -> Callable[[list[str]], list[str]]:
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    iso_codes = [getattr(IsoCode639_1, code.upper()) for code in codes]
    builder = LanguageDetectorBuilder.from_iso_codes_639_1(*iso_codes) if codes else None
    detector = (builder or LanguageDetectorBuilder.from_all_languages()).with_preloaded_language_models().build()

    def run(texts: list[str]) -> list[str]:
        results = map(detector.detect_language_of, texts)
        return [each.iso_code_639_1.name.lower() if each else "" for each in results]

    return run


def ours(codes: Sequence[str]) -> Callable[[list[str]], list[str]]:
    languages.of_texts(["loads what it needs"], tuple(codes))
    return lambda texts: languages.of_texts(texts, tuple(codes))


def main() -> None:
    rows = messages()
    texts, truth = [text for text, _ in rows], [code for _, code in rows]
    print(f"{len(rows):,} messages of {len(CODES)} languages, {sum(map(len, texts)) / len(texts):.0f} characters each")
    for name, detector in (("ours", ours), ("lingua", lingua)):
        for codes in (CODES, ()):
            try:
                run = detector(codes)
            except ImportError as error:
                print(f"{name} is not installed: {error}")
                break
            start = time.perf_counter()
            codes_of = run(texts)
            rate = len(texts) / (time.perf_counter() - start)
            sure = [(code, right) for code, right in zip(codes_of, truth, strict=True) if code]
            accuracy = sum(code == right for code, right in sure) / len(sure)
            among = f"{len(codes)} languages" if codes else "all it knows"
            share = len(sure) / len(rows)
            print(f"{name:6} among {among:12}: told {share:.3f}, right {accuracy:.4f}, {rate:,.0f} texts/s")


if __name__ == "__main__":
    main()
