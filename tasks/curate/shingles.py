"""The shingles of texts, by which near-copies are recognised, and their MinHash signatures. The door to rensa.

A shingle is a word, or a word and the one that follows. Words are those of `text_keys.near`. One with a digit in it is
a number, all numbers are one word, and several in a row are one number: `12.99`, `A3318` and `2026-01-31` are alike,
and so are `<EMAIL_1>` and `<EMAIL_2>`. A text of numbers alone keeps them. Where a script has no spaces, each sign is
a word.

Two texts share each of the 128 slots of their signatures with a chance equal to their similarity, which is the share of
their shingles that both have (Jaccard). Four slots are a band. Texts of similarity 0.8 share one of the 32 bands but
for one pair in ten million, of similarity 0.6 but for one in eighty.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import rensa

from retune.data import text_keys
from retune.data.text_keys import UNSPACED

Array = np.ndarray[Any, Any]
SLOTS, SEED = 128, 17
WORDS = re.compile(f"[{UNSPACED}]|[^\\s{UNSPACED}]+")
DIGIT = re.compile(r"\d")
NUMBER = "0"
PAIR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that the product with it loses no bit


@dataclass(frozen=True)
class Shingles:
    """Of some texts, in their order."""

    counts: Array  # shingles of each text
    hashes: Array  # those of all texts, one text after the other, ascending within a text; 32 bits each
    signatures: Array  # shape (texts, SLOTS), 16 bits a slot


def shingles(texts: pd.Series) -> Shingles:
    words = [_words(key) for key in text_keys.near(texts)]
    text = np.repeat(np.arange(len(words), dtype=np.uint64), [*map(len, words)])
    single = pd.util.hash_array(np.array([*chain.from_iterable(words)], dtype=object))
    follows = np.flatnonzero(text[1:] == text[:-1])
    pairs = (single[follows] * PAIR) ^ (single[follows + 1] >> np.uint64(1))
    places = np.concatenate([text, text[follows]])
    keys = np.sort(places << np.uint64(32) | np.concatenate([single, pairs]) >> np.uint64(32))
    keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)]]
    counts = np.bincount((keys >> np.uint64(32)).astype(np.int64), minlength=len(words))
    hashes = keys & np.uint64(0xFFFFFFFF)
    return Shingles(counts.astype(np.int32), hashes.astype(np.uint32), _signatures(hashes, counts))


def _signatures(hashes: Array, counts: Array) -> Array:
    if not len(counts):
        return np.empty((0, SLOTS), np.uint16)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint64)
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(hashes * PAIR, offsets, SLOTS, SEED)
    return np.array(matrix.to_rows(), dtype=np.uint32).astype(np.uint16)


def _words(key: str) -> Sequence[str]:
    words = key.split() if key.isascii() else WORDS.findall(key)
    numbers = [NUMBER if DIGIT.search(word) else word for word in words]
    if not any(map(str.isalpha, numbers)):
        return words
    return [word for place, word in enumerate(numbers) if word != NUMBER or place == 0 or numbers[place - 1] != NUMBER]
