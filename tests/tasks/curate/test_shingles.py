import numpy as np
import pandas as pd
import pytest

from tasks.curate.shingles import shingles


def of(*texts):
    parts = shingles(pd.Series(texts, dtype="str"))
    return np.split(parts.hashes, np.cumsum(parts.counts)[:-1]), parts.signatures


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Order A3318 of 12.99 came on 2026-01-31", "order B7 of 5 came on 3/2"),
        ("Write to <EMAIL_1>", "write to <EMAIL_2>!"),
        ("Where is <CARD_0a9f3c7d21be>?", "Where is <CARD_1>?"),
        ("zu 3 Uhr", "zu 15:30 Uhr"),
    ],
)
def test_numbers_and_placeholders_are_alike(one, other):
    (first, second), signatures = of(one, other)
    assert list(first) == list(second)
    assert list(signatures[0]) == list(signatures[1])


@pytest.mark.parametrize(("one", "other"), [("12", "13"), ("-5 10", "6 11"), ("👍", "👎"), ("ok", "no")])
def test_a_text_of_numbers_or_signs_alone_keeps_them(one, other):
    (first, second), _ = of(one, other)
    assert not set(first) & set(second)


def test_words_and_pairs_of_neighbours_are_shingles():
    (short, turned, twice), _ = of("lost my card", "card my lost", "lost my card lost my card")
    assert len(short) == 5
    assert len(set(short) & set(turned)) == 3
    assert len(set(twice) - set(short)) == 1  # card lost


def test_a_script_without_spaces_is_read_sign_by_sign():
    (one, other, _), _ = of("カードをなくしました", "カードをなくしました。再発行", "บัตรหาย")
    assert len(one) > 10
    assert set(one) <= set(other)


def test_what_else_is_in_the_batch_changes_nothing():
    texts = [f"my card number {'x' * n} is lost" for n in range(40)]
    together, signatures = of(*texts)
    for n, text in enumerate(texts):
        (alone,), signature = of(text)
        assert list(alone) == list(together[n])
        assert list(signature[0]) == list(signatures[n])
    assert shingles(pd.Series([], dtype="str")).signatures.shape == (0, 128)
