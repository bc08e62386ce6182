"""The words of all rows as numbers, in a file of their own, so that a step can read them again without holding a text.

A word is what stands between white space and signs, in small letters; a run of signs is a word too, and so is each
character of scripts without spaces. Characters that cleaning takes out of a text follow its words: what nobody sees may
still be a mark.
"""

import hashlib
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from retune.data import text_keys
from retune.data.text_keys import UNSPACED

Array = np.ndarray[Any, Any]
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+|[^\w\s{UNSPACED}]+")
HIDDEN = re.compile(r"U\+[0-9A-F]{4,6}")  # a character that cleaning takes out
LONGEST = 1_000  # words of a row that count
CACHE = 500_000  # words that are known to be in the file of names


@dataclass(frozen=True)
class Words:
    """The words of a batch of rows."""

    first: int  # place of the first row among all rows
    row: Array  # of each word: its row in the batch, ascending
    word: Array  # its number, 32 bits


@dataclass(frozen=True)
class NumberedWords:
    """What a batch of rows says, as numbers."""

    rows: int
    row: Array  # of each word: its row in the batch, ascending
    word: Array  # its number, 32 bits
    names: Sequence[str]  # the distinct words
    answers: Array  # a number for the answer of each row, where they are asked for


def number_words(batch: pa.RecordBatch, longest_text: int, answer: str | None) -> NumberedWords:
    """Those of a cleaned batch. answer: the column whose values are told apart by number, where there are no labels."""
    texts = zip(batch.column("words").to_pylist(), batch.column("signs").to_pylist(), strict=True)
    words = [[*WORD.findall(text[:longest_text].lower())[:LONGEST], *signs.split()] for text, signs in texts]
    names = dict.fromkeys(word for each in words for word in each)
    numbers = {name: _number(name, 4) for name in names}
    row = np.repeat(np.arange(len(words), dtype=np.int32), [len(each) for each in words])
    word = np.fromiter((numbers[name] for each in words for name in each), dtype=np.uint32, count=len(row))
    values: Iterable[str] = text_keys.without_digits(text_keys.near(batch.column(answer).to_pandas())) if answer else []
    answers = np.array([_number(value, 8) for value in values], dtype=np.uint64)
    return NumberedWords(len(words), row, word, [*names], answers)


class WordSpool:
    """Takes the words of batches, which come in the order of their rows, and gives them back as often as asked.

    Two words share a number with a chance of 1 in 4 billion.
    """

    def __init__(self) -> None:
        self._names_there: set[str] = set()
        # Both live as long as the spool, and have no name that could stay behind.
        self._words = tempfile.TemporaryFile()  # noqa: SIM115
        self._names = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self._batches: list[tuple[int, int]] = []  # first row, and how many words
        self._answers: list[Array] = []
        self._rows = 0

    @property
    def rows(self) -> int:
        return self._rows

    @property
    def words(self) -> int:
        return sum(count for _, count in self._batches)

    def add(self, part: NumberedWords) -> None:
        self._words.write(part.row.tobytes())
        self._words.write(part.word.tobytes())
        self._batches.append((self._rows, len(part.row)))
        self._rows += part.rows
        self._answers.append(part.answers)
        for name in part.names:
            if name not in self._names_there:
                self._names.write(f"{name}\n")
        if len(self._names_there) >= CACHE:
            self._names_there.clear()
        self._names_there.update(part.names)

    def batches(self) -> Iterator[Words]:
        self._words.seek(0)
        for first, count in self._batches:
            rows, words = self._words.read(4 * count), self._words.read(4 * count)
            yield Words(first, np.frombuffer(rows, dtype=np.int32), np.frombuffer(words, dtype=np.uint32))

    def answers(self) -> Array:
        """A number for the answer of each row; those that differ in signs and digits alone share it."""
        return np.concatenate([np.empty(0, np.uint64), *self._answers])

    def names(self, numbers: set[int]) -> dict[int, str]:
        """The words of these numbers."""
        self._names.seek(0)
        names = (line.removesuffix("\n") for line in self._names)
        return {number: name for name in names if (number := _number(name, 4)) in numbers}


def number_phrase(phrase: str) -> tuple[int, ...]:
    """The numbers of the words of a phrase, as a reject names it."""
    words = [[part] if HIDDEN.fullmatch(part) else WORD.findall(part.lower()) for part in phrase.split()]
    return tuple(_number(word, 4) for part in words for word in part)


def _number(word: str, size: int) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8"), digest_size=size).digest(), "little")
