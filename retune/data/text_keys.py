"""When two texts are the same, in two strengths.

    same    a reader would say so: they differ in case, width, white space and final punctuation alone. Drops copies.
    near    they share their words: signs and other punctuation may differ too. Warns, and protects the test split.

Whatever is the same is near. Combining marks stay in both: without its vowel signs a word of Hindi or Thai is another
word. Signs stay in `same`, for C++ is not C#; what differs in no more than a final ? or ! is a copy where the answer is
the same, and no contradiction where it is not (`signed`).
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache

import pandas as pd

# Forms of one letter that a reader does not tell apart; <super>, <square>, <fraction> and the like are other texts.
FORMS = ("<wide>", "<narrow>", "<initial>", "<medial>", "<final>", "<isolated>", "<noBreak>")
BLOCKS = ((0xA0, 0xA1), (0x0F0C, 0x0F0D), (0x2000, 0x2070), (0x3000, 0x3001), (0xFB50, 0xFE00), (0xFE70, 0xFFF0))
SIGNS, DIGITS = re.compile(r"[\W_]+"), re.compile(r"\d+")
PRESENTATION = dict.fromkeys((0xFE0E, 0xFE0F))  # ask for a sign as text or as emoji
# Inside a class of a pattern: Thai, Lao, Burmese, Khmer, Japanese and Chinese have no spaces between words.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
ENDS = ".…。!?؟;؛,،、:।॥ "


def same(texts: pd.Series) -> pd.Series:
    """The key of texts that a reader calls the same. A text of final punctuation alone is its own key."""
    return _each(_same, texts)


def signed(texts: pd.Series) -> pd.Series:
    """The key of `same`, and whether the text ends as a question or a cry: what contradictions are found by."""
    return _each(_signed, texts)


def near(texts: pd.Series) -> pd.Series:
    """The key of texts of the same words and numbers. A text without a word is the key of its signs.

    By this key 25 test texts of Banking77 are also in its train split.
    """
    return _each(_near, texts)


def label_names(labels: Sequence[str]) -> list[str]:
    """Labels without signs, as people would say them; where a sign tells two apart (C++, C#), as they are."""
    names = [without_signs(label) for label in labels]
    uses = Counter(names)
    return [name if name and uses[name] == 1 else label for name, label in zip(names, labels, strict=True)]


def without_digits(keys: pd.Series) -> pd.Series:
    """Keys of `near` without their numbers, where a word is left: one key for form letters."""
    return _each(_without_digits, keys)


def _each(key: Callable[[str], str], texts: pd.Series) -> pd.Series:
    return pd.Series(map(key, texts.fillna("")), index=texts.index, dtype="str")


def _same(text: str) -> str:
    folded = _folded(text)
    return folded.rstrip(ENDS) or folded


def _signed(text: str) -> str:
    folded = _folded(text)
    key = folded.rstrip(ENDS) or folded
    end = folded[len(key) :].replace("؟", "?")
    return key + "".join(sign for sign in "?!" if sign in end)


def _near(text: str) -> str:
    key = _same(text)
    if key.isascii():
        return SIGNS.sub(" ", key).strip() or key
    key = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", key).casefold())
    return without_signs(key) or key


def without_signs(text: str) -> str:
    """The words of a text, with single spaces between them."""
    return " ".join(SIGNS.sub(_marks, text).split())


def _without_digits(key: str) -> str:
    words = " ".join(DIGITS.sub(" ", key).split())
    return words if any(map(str.isalpha, words)) else key


def _folded(text: str) -> str:
    """Without the differences of case, width and white space."""
    if text.isascii():
        return " ".join(text.casefold().split())
    text = unicodedata.normalize("NFD", text.translate(PRESENTATION)).translate(_plain_forms())
    text = unicodedata.normalize("NFD", unicodedata.normalize("NFD", text).casefold())
    return " ".join(unicodedata.normalize("NFC", text).split())


@cache
def _plain_forms() -> dict[int, str]:
    forms = {}
    for first, end in BLOCKS:
        for code in range(first, end):
            kind, _, plain = unicodedata.decomposition(chr(code)).partition(" ")
            if kind in FORMS:
                forms[code] = unicodedata.normalize("NFD", "".join(chr(int(point, 16)) for point in plain.split()))
    return forms


def _marks(signs: re.Match[str]) -> str:
    """The combining marks among signs: for `re` a vowel sign is no part of a word."""
    return "".join(sign if unicodedata.category(sign) in ("Mn", "Mc") else " " for sign in signs[0])
