import unicodedata

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.data import row_table, text_keys

LETTERS = st.characters(categories=("L", "M", "N", "P", "S", "Zs"))  # of every block in use
TEXTS = st.text(LETTERS).map(row_table.clean)


def keys(key, *texts):
    return key(pd.Series(texts, dtype="str")).tolist()


def count(key, *texts):
    return len(set(keys(key, *texts)))


@pytest.mark.parametrize(
    "texts",
    [
        ("Where is my card?", "where  is my CARD", "Where is my card!!", "where is my card ..."),
        ("\uff23\uff21\uff32\uff24 lost", "card\u3000lost", "Card\u00a0lost"),
        ("\uff76\uff9e\uff7d", "\u30ac\u30b9"),  # half and full width of one word in katakana
        ("caf\u00e9", "CAFE\u0301"),
        ("stra\u00dfe", "STRASSE"),
        ("ok \u2764\ufe0f", "ok \u2764"),
        ("\u0645\u0631\u062d\u0628\u0627\u061f", "\u0645\u0631\u062d\u0628\u0627"),
        ("\u0915\u092c\u0964", "\u0915\u092c"),
    ],
)
def test_case_width_space_and_final_punctuation_leave_a_text_the_same(texts):
    assert count(text_keys.same, *texts) == count(text_keys.near, *texts) == 1


@pytest.mark.parametrize(
    "texts",
    [
        ("C++", "C#", "C", "C--"),
        ("rated A+", "rated A-"),
        ("-5", "+5", "5"),
        ("\u20ac50", "$50", "50%", "#50"),
        ("ok \U0001f44d", "ok \U0001f44e", "ok"),
        ("x\u00b2", "x2"),
        ("1 1/2", "11/2"),
        ("where-is", "where is"),
        ("!!!", "???", "."),
    ],
)
def test_a_sign_makes_another_text(texts):
    assert count(text_keys.same, *texts) == len(texts)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("\u092e\u0947\u0932", "\u092e\u093e\u0932"),
        ("\u0e02\u0e49\u0e32\u0e27", "\u0e02\u0e48\u0e32\u0e27"),
        ("\u0e40\u0e2a\u0e37\u0e49\u0e2d", "\u0e40\u0e2a\u0e37\u0e2d"),
        ("\u0995\u09bf", "\u0995\u09c0"),
    ],
)
def test_a_vowel_sign_or_tone_mark_makes_another_word(one, other):
    assert count(text_keys.same, one, other) == count(text_keys.near, one, other) == 2


def test_near_texts_share_words_and_numbers_whatever_their_signs():
    assert count(text_keys.near, "Where-is my card?!", "where_is, my CARD", "where is my card \U0001f44d") == 1
    assert count(text_keys.near, "card 1", "card 2") == count(text_keys.near, "???", "!!!", "") + 0 - 1 == 2
    form_letters = keys(text_keys.near, "Order 17 is late", "order 9: is late")
    assert len(set(keys(text_keys.without_digits, *form_letters))) == 1
    assert keys(text_keys.without_digits, "404", "500") == ["404", "500"]


def test_a_question_is_no_contradiction_of_a_statement():
    assert count(text_keys.signed, "delivered?", "delivered!", "delivered") == 3
    assert count(text_keys.signed, "Delivered.", "delivered ...", "delivered") == 1


@given(TEXTS)
def test_the_key_of_a_key_is_itself(text):
    for key in (text_keys.same, text_keys.near):
        (once,) = keys(key, text)
        assert keys(key, once) == [once]


@given(TEXTS)
def test_what_is_the_same_is_near(text):
    (same,) = keys(text_keys.same, text)
    assert count(text_keys.near, text, same) == 1
    assert count(text_keys.same, text, text.swapcase() if text.isascii() else f" {text} ") == 1


@given(st.text(st.characters(categories=("L", "Nd", "Mn", "Mc")), min_size=1))
def test_no_letter_digit_or_combining_mark_leaves_a_key(word):
    word = row_table.clean(unicodedata.normalize("NFD", f"x{word}x"))
    marks = [sign for sign in unicodedata.normalize("NFC", word) if unicodedata.combining(sign)]
    for key in (text_keys.same, text_keys.near):
        (once,) = keys(key, word)
        assert len(once.replace(" ", "")) >= len(marks)  # NFKC parts a few letters: an L with a dot in it


@given(TEXTS, TEXTS, st.sampled_from("+-#%\u20ac$\U0001f600"))
def test_a_sign_inside_a_text_stays_in_its_key(before, after, sign):
    (once,) = keys(text_keys.same, f"a{before}x{sign}x{after}b")
    assert sign in once


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["invoice_paid", "broken-screen?", "???"], ["invoice paid", "broken screen", "???"]),
        (["किताब", "ไม่ได้รับ", "தமிழ்_உதவி"], ["किताब", "ไม่ได้รับ", "தமிழ் உதவி"]),
        (["C++", "C#", "good_👍", "good_👎", "👍"], ["C++", "C#", "good_👍", "good_👎", "👍"]),
    ],
    ids=["signs", "vowel signs", "signs that tell apart"],
)
def test_a_label_is_named_without_signs_unless_they_tell_it_apart(labels, names):
    assert text_keys.label_names(labels) == names
