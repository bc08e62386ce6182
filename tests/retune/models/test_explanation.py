"""The words that carried a label, by what a model says without each."""

import numpy as np
import pytest

from retune.models.explanation import word_weights


def refunds(texts):
    """A model that knows two words: one speaks for the label, one against it."""
    return np.array([0.5 + 0.4 * ("refund" in text) - 0.2 * ("parcel" in text) for text in texts])


def test_the_word_that_carried_the_label_comes_first_and_the_one_against_it_last():
    calls = []

    def probability(texts):
        calls.append(texts)
        return refunds(texts)

    weights = word_weights("a refund,\nfor the  parcel", probability, 100)
    assert [weight.word for weight in weights] == ["refund,", "a", "for", "the", "parcel"]
    assert weights[0].loss == pytest.approx(0.4) and weights[-1].loss == pytest.approx(-0.2)
    assert weights[0].place == 2
    assert calls == [
        ["a refund,\nfor the  parcel", "refund, for the parcel", "a for the parcel", "a refund, the parcel",
         "a refund, for parcel", "a refund, for the"]
    ]  # fmt: skip


def test_a_script_without_spaces_is_taken_by_its_characters():
    weights = word_weights("退款 refund", refunds, 100)
    assert [weight.word for weight in weights] == ["refund", "退", "款"]


def test_no_more_words_are_asked_about_than_the_model_reads():
    assert len(word_weights("one two three four", refunds, 2)) == 2
    assert word_weights("", refunds, 10) == []
