"""A column of thumbs shows by its name and its values; a label of another kind is none."""

import pytest

from retune.data import thumbs
from retune.data.readers.table import Table


def column(values, name="label", other_use=()):
    return thumbs.column(Table("own.csv", [name], range(len(values)), lambda _: values), other_use)


@pytest.mark.parametrize("values", [[True, False], ["true", ""], ["TRUE", "maybe"], [1, 0, None], ["1", "-1"], ["👍"]])
def test_thumbs_are_recognised(values):
    assert column(values) == "label"


@pytest.mark.parametrize("shade", ["\U0001f3fb", "\U0001f3ff", "\ufe0f"])
def test_a_thumb_of_any_skin_counts(shade):
    assert (thumbs.liked(f"\U0001f44d{shade}"), thumbs.liked(f"\U0001f44e{shade}")) == (True, False)


@pytest.mark.parametrize("values", [["billing", "returns"], [0, 1, 2], ["", None], []])
def test_other_labels_are_no_thumbs(values):
    assert column(values) is None


def test_a_column_of_another_name_or_with_another_use_is_none():
    assert column([True], "open") is None
    assert column([True], other_use={"label"}) is None


def test_a_thumb_says_liked_disliked_or_nothing():
    assert [thumbs.liked(value) for value in (True, "False", 1, "0", "👎", "maybe", None)] == [
        True, False, True, False, False, None, None,
    ]  # fmt: skip
