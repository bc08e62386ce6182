"""The words of all rows as numbers, in a file of their own, so that a step can read them again without holding a text.

A word is what stands between white space and signs, in small letters; a run of signs is a word too, and so is each
character of scripts without spaces. Characters that cleaning takes out of a text follow its words: what nobody sees may
still be a mark.
"""

import hashlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from retune.data import text_keys

Array = np.ndarray[Any, Any]
UNSPACED = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"  # Thai, Lao, kana, ideographs
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+|[^\w\s{UNSPACED}]+")
HIDDEN = re.compile(r"U\+[0-9A-F]{4,6}")  # a character that cleaning takes out
LONGEST = 1_000  # words of a row that count
CACHE = 500_000  # words whose numbers are held


@dataclass(frozen=True)
class Words:
    """The words of a batch of rows."""

    first: int  # place of the first row among all rows
    row: Array  # of each word: its row in the batch, ascending
    word: Array  # its number, 32 bits


class WordSpool:
    """Takes the words of cleaned batches, which come in the order of their rows, and gives them back as often as asked.

    Two words share a number with a chance of 1 in 4 billion.
    """

    def __init__(self, longest_text: int, answer: str | None) -> None:
        """answer: the column whose values are told apart by number, where the task has no labels."""
        self._longest, self._answer = longest_text, answer
        self._numbers: dict[str, int] = {}
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

    def add(self, batch: pa.RecordBatch) -> None:
        texts = zip(batch.column("words").to_pylist(), batch.column("signs").to_pylist(), strict=True)
        numbers = [self._of(text[: self._longest], signs) for text, signs in texts]
        rows = np.repeat(np.arange(len(numbers), dtype=np.int32), [len(each) for each in numbers])
        words = np.fromiter((number for each in numbers for number in each), dtype=np.uint32, count=len(rows))
        self._words.write(rows.tobytes())
        self._words.write(words.tobytes())
        self._batches.append((self._rows, len(rows)))
        self._rows += len(numbers)
        if self._answer:
            answers = text_keys.without_digits(text_keys.near(batch.column(self._answer).to_pandas()))
            self._answers.append(np.array([_number(answer, 8) for answer in answers], dtype=np.uint64))

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

    def _of(self, text: str, signs: str) -> Sequence[int]:
        numbers = self._numbers
        words = [*WORD.findall(text.lower())[:LONGEST], *signs.split()]
        for word in words:
            if word not in numbers:
                if len(numbers) >= CACHE:
                    numbers.clear()
                numbers[word] = _number(word, 4)
                self._names.write(f"{word}\n")
        return [numbers[word] if word in numbers else _number(word, 4) for word in words]


def number_phrase(phrase: str) -> tuple[int, ...]:
    """The numbers of the words of a phrase, as a reject names it."""
    words = [[part] if HIDDEN.fullmatch(part) else WORD.findall(part.lower()) for part in phrase.split()]
    return tuple(_number(word, 4) for part in words for word in part)


def _number(word: str, size: int) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8"), digest_size=size).digest(), "little")
