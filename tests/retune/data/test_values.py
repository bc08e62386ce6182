import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.data import values


def series(*words):
    return pd.Series(words, dtype="str")


@pytest.mark.parametrize("word", ["nan", "NaN", "NULL", "None", "N/A", "NA", "\\N", " null ", "<NA>", "#N/A", "-"])
def test_words_for_nothing_are_known(word):
    assert values.is_for_nothing(word)


def test_unknown_is_a_word_for_nobody_and_may_be_a_label():
    assert values.is_for_nobody("Unknown")
    assert values.is_for_nobody("NULL")
    assert not values.is_for_nothing("unknown")


@pytest.mark.parametrize("word", ["", "Nana", "nothing works", "no", "0", "annul", "null pointer exception"])
def test_other_words_are_no_words_for_nothing(word):
    assert not values.is_for_nothing(word)


def test_only_empty_decimals_of_a_whole_number_go():
    assert [*map(values.whole, ["1.0", "-7.00", "1", "1.10", "v1.0", "1.0.0", "007.0"])] == [
        *("1", "-7", "1", "1.10", "v1.0", "1.0.0", "007")
    ]


@given(st.lists(st.integers()))
def test_a_number_has_one_spelling_whatever_the_format(numbers):
    integers, floats = (series(*(f"{number}{end}" for number in numbers)) for end in ("", ".0"))
    empty = series()
    assert values.first_spelling(floats, empty).tolist() == values.first_spelling(integers, empty).tolist()
    for existing in (integers, floats):
        assert values.first_spelling(floats, existing).tolist() == existing.tolist()


def test_a_number_that_came_before_keeps_its_spelling():
    assert values.first_spelling(series("1", "2.0", "x"), series("1.0", "y")).tolist() == ["1.0", "2", "x"]
    assert values.first_spelling(series("1.0"), series("1.0", "1")).tolist() == ["1"]
    assert values.spellings("1") == ("1", "1.0")
    assert values.spellings("1.0") == ("1.0", "1")
    assert values.spellings("T-1") == ("T-1",)


def test_labels_that_differ_in_case_space_or_punctuation_are_alike():
    labels = ["Billing", "billing", "BILLING", "Billing.", "Shipping", "log-in", "Log in", "1", "1.0"]
    assert values.alike(labels) == [["1", "1.0"], ["BILLING", "Billing", "Billing.", "billing"], ["Log in", "log-in"]]
    assert values.alike(["C", "C++", "C#", "A+", "A-", "R&D", "RD", "\u0915\u0940", "\u0915\u093f"]) == []


def test_several_labels_in_a_cell_are_named():
    assert values.several(["a", "b", "a;b", "c|a", '["a", "b"]', "a, b"]) == ['["a", "b"]', "a, b", "a;b", "c|a"]
    assert values.several(["x;y", "x;z"]) == ["x;y", "x;z"]  # x is never alone
    assert values.several(["Portland, Oregon", "R&D", "TCP/IP", "a", "cash (card)", "Q;A"]) == []
