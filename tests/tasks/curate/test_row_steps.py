from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.data import messages, task_data
from retune.data.row_table import clean
from retune.errors import WrongUse
from tests.support.curation import (
    FORGOTTEN,
    LENIENT,
    WRITING,
    curate,
    fates,
    outcome,
    preference_rows,
    reply_rows,
    rows,
    user_message,
)


@pytest.mark.parametrize(
    ("dirty", "tidy"),
    [
        ("  two\t words\r\n here ", "two words here"),
        ("cafe\u0301", "caf\u00e9"),
        ("zero\u200bwidth \ufeffmark\x00\x07", "zerowidth mark"),
        ("no\u00a0break", "no break"),
        (
            "family \U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f",
            "family \U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f",
        ),
        ("loose\u200d \u200djoiner", "loose joiner"),
        ("e\u200b\u0301", "\u00e9"),
        (" \u200b\n\u200d ", ""),
    ],
)
def test_a_text_is_cleaned(dirty, tidy):
    assert clean(dirty) == tidy


@given(st.text())
def test_cleaning_twice_changes_nothing_more(text):
    assert clean(clean(text)) == clean(text)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("", "some words", "a"), "no_id"),
        (("1", " \u200b\n", "a"), "empty"),
        (("1", "some words", " \t"), "no_label"),
        (("1", " abc ", "a"), "too_short"),
        (("1", "a text that is far too long", "a"), "too_long"),
    ],
)
def test_an_unusable_row_is_rejected(row, reason):
    params = replace(LENIENT, min_chars=4, max_chars=10)
    assert [reject[1] for reject in outcome(rows(row), params)[1]] == [reason]


def test_lengths_at_the_limits_are_kept():
    params = replace(LENIENT, min_chars=4, max_chars=10)
    assert outcome(rows(("1", "four", "a"), ("2", "tentenchar", "a")), params) == (["1", "2"], [])


def test_a_suppressed_row_is_rejected_in_all_its_states_and_on_every_side():
    table = rows(("1", "old", "a"), ("2", "other", "a"), ("1", "new", "b", "test"), (" ", "third", "a"))
    accepted, rejects = curate(table, LENIENT, FORGOTTEN)
    assert list(accepted["id"]) == ["2"]
    assert list(rejects["reason"]) == ["suppressed", "suppressed", "no_id"]


def test_nothing_of_a_suppressed_row_but_id_source_and_side_is_written_anew():
    table = rows(("1", "my secret", "a", "train"), ("2", "other", "")).assign(group="c7")
    _, rejects = curate(table, LENIENT, FORGOTTEN)
    assert rejects.iloc[0].to_dict() == {
        "id": "1", "text": "", "label": "", "group": "", "source": "desk", "given": "train",
        "reason": "suppressed", "detail": "",
    }  # fmt: skip
    assert rejects.iloc[1]["text"] == "other" and rejects.iloc[1]["group"] == "c7"


def test_a_test_row_stays_byte_for_byte():
    strict = replace(LENIENT, min_chars=5, max_chars=6, min_label_rows=3)
    table = rows(("1", " a\u200b ", "x", "test"), ("2", "A", "x", "test"), ("3", "A", "y", "test"))
    accepted, rejects = curate(table, strict)
    assert list(accepted["text"]) == [" a\u200b ", "A", "A"]
    assert rejects.empty


def test_a_test_row_without_text_or_label_is_rejected():
    table = rows(("1", " ", "x", "test"), ("2", "words", " ", "test"))
    assert outcome(table) == ([], [("1", "empty", ""), ("2", "no_label", "")])


def test_an_answer_keeps_its_lines_and_a_prompt_stays_messages():
    table = rows(("1", user_message(" a\u200b  b \r\n  c ", "why? \n"), "Do:\r\n\r\n    if x:\t\n        y\n\n"))
    accepted, _ = curate(table, WRITING, task="instruct")
    (row,) = accepted.to_dict("records")
    assert messages.parse(row["text"]) == [
        {"role": "user", "content": "a  b\n  c"},
        {"role": "user", "content": "why?"},
    ]
    assert row["label"] == "Do:\n\n    if x:\n        y"
    again, rejects = curate(accepted, WRITING, task="instruct")
    assert rejects.empty
    pd.testing.assert_frame_equal(again, accepted)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("1", " \u200b\n", "a"), "empty"),
        (("1", "words", " \n"), "no_label"),
        (("1", "x", "a"), "too_short"),
        (("1", "word " * 41, "a"), "too_long"),
    ],
)
def test_an_unusable_prompt_or_answer_is_rejected(row, reason):
    assert [reject[1] for reject in fates(reply_rows(row), "instruct")[1]] == [reason]


def test_the_worse_answer_is_kept_and_of_a_forgotten_row_nothing():
    table = preference_rows(("1", "Where?", "my secret", "my other secret"), ("2", "Why?", "so\n\nthen", "no \n"))
    accepted, rejects = curate(table, WRITING, FORGOTTEN, "prefer")
    assert tuple(accepted.columns) == task_data.of("prefer").columns
    assert accepted[["label", "rejected"]].to_numpy().tolist() == [["so\n\nthen", "no"]]
    assert rejects[["text", "label", "rejected"]].to_numpy().tolist() == [["", "", ""]]


def test_rows_of_another_task_are_a_wrong_use():
    with pytest.raises(WrongUse, match="row 1 of the raw rows holds no messages"):
        curate(rows(("1", "card lost", "a")), WRITING, task="instruct")
    with pytest.raises(WrongUse, match="lack rejected"):
        curate(reply_rows(("1", "Where?", "a")), WRITING, task="prefer")


def test_a_word_for_nothing_is_an_empty_cell_only_where_params_say_so():
    table = rows(("1", "nan", "a"), ("2", "card", "NULL"), ("3", "lost", "NA")).assign(group="NULL")
    assert outcome(table)[0] == ["1", "2", "3"]
    config = replace(LENIENT, missing_words=["nan", "NULL"])
    assert outcome(table, config) == (["3"], [("1", "empty", ""), ("2", "no_label", "")])
    assert curate(table, config)[0]["group"].tolist() == [""]


def test_merged_labels_are_one():
    table = rows(("1", "card", "Billing."), ("2", "lost", "billing"))
    config = replace(LENIENT, merge_labels={"Billing.": "billing"})
    assert curate(table, config)[0]["label"].tolist() == ["billing", "billing"]
