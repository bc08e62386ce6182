"""What the words of a cell may mean: nothing, a whole number, several labels, or another spelling of one label.

Nothing here changes a row but `whole` and `first_spelling`, by which 1, 1.0 and "1" are one id, label and group in
files of every format. The others find what a person should be told.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable

import pandas as pd

FOR_NOTHING = {  # as Python, pandas, R, Excel and SQL write a missing value, folded. NA may be Namibia: it is told too
    *("nan", "<na>", "na", "n/a", "#n/a", "n.a.", "nat", "none", "nil", "null", "(null)", "<null>", "\\n"),
    *("undefined", "#ref!", "#value!", "#div/0!", "?", "-", "--", "."),
}
FOR_NOBODY = FOR_NOTHING | {"unknown", "missing", "anonymous", "other"}  # as labels these may be meant
WHOLE = re.compile(r"([+-]?\d+)\.0+")
BETWEEN = re.compile(r"(?<=\w)[-_/.](?=\w)")
LIST = re.compile(r"[\[({].*[,;\"'].*[\])}]", re.DOTALL)
KEPT_SIGNS = "#%&@*-"  # Unicode counts them as punctuation; in C#, R&D and 100% they are part of the name


def is_for_nothing(word: str) -> bool:
    """Whether a cell looks like a missing value that an export wrote as a word."""
    return len(word) < 16 and word.strip().casefold() in FOR_NOTHING


def is_for_nobody(group: str) -> bool:
    """Whether the name of a group looks like a missing value, so that its rows have nothing in common."""
    return group.strip().casefold() in FOR_NOBODY


def whole(word: str) -> str:
    """A whole number without its empty decimals, since one export writes 1 and another 1.0; other words as they are."""
    number = WHOLE.fullmatch(word.strip()) if ".0" in word else None
    return number[1] if number else word


def spellings(word: str) -> tuple[str, ...]:
    """How a whole number may stand as an id: 1 and 1.0; other words in one way."""
    number = whole(word)
    return (word, f"{number}.0" if word == number else number) if WHOLE.fullmatch(f"{number}.0") else (word,)


def first_spelling(words: pd.Series, existing: pd.Series) -> pd.Series:
    """Words as `whole` writes them, or as rows that came before spell the same number: an id is the same for good."""
    numbers = words.map(whole).astype("str")
    before = existing[existing.str.contains(r"\.0+\s*$", regex=True)].drop_duplicates()
    if before.empty:
        return numbers
    spellings = {whole(word): word for word in before[::-1]}
    plain = {word: word for word in existing[existing.isin(spellings)].unique()}  # both spellings came before
    return numbers.map({**spellings, **plain}).fillna(numbers).astype("str")


def alike(labels: Iterable[str]) -> list[list[str]]:
    """The labels that differ in case, white space or punctuation alone, or in the decimals of a whole number."""
    groups: dict[str, list[str]] = defaultdict(list)
    for label in sorted(labels):
        groups[_label_key(label)].append(label)
    return [group for group in groups.values() if len(group) > 1]


def _label_key(label: str) -> str:
    folded = BETWEEN.sub(" ", unicodedata.normalize("NFC", whole(label)).casefold())
    return "".join(filter(_tells_apart, folded)) or folded


def _tells_apart(sign: str) -> bool:
    return sign in KEPT_SIGNS or not unicodedata.category(sign).startswith(("P", "Z", "C"))


def several(labels: Collection[str]) -> list[str]:
    """The labels that look like several labels in one cell: a list, or others of the labels with a sign between."""
    parts = {label: parts for label in labels if len(parts := _parts(label)) > 1}
    uses = Counter(part for each in parts.values() for part in set(each))

    def is_several(label: str, parts: list[str]) -> bool:
        recurs = [part in labels or uses[part] > 1 for part in parts]
        return any(recurs) if ";" in label or "|" in label else all(part in labels for part in parts)

    return sorted(
        label for label in labels if LIST.fullmatch(label) or (label in parts and is_several(label, parts[label]))
    )


def _parts(label: str) -> list[str]:
    for sign in ";|,/+&":
        if sign in label:
            return [part.strip() for part in label.split(sign) if part.strip()]
    return []
