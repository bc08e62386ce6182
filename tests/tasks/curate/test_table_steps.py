from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from retune.data import task_data
from tasks.curate import __main__ as stage
from tasks.curate.row_steps import Context
from tests.support.curation import (
    FORGOTTEN,
    LENIENT,
    POISON,
    curate,
    decision_on,
    fates,
    outcome,
    preference_rows,
    reply_rows,
    report,
    rows,
)


def test_the_newest_row_of_an_id_wins():
    accepted, rejects = curate(rows(("1", "old", "a"), ("2", "other", "a"), ("1", "new", "b")), LENIENT)
    assert list(zip(accepted["id"], accepted["text"], strict=True)) == [("2", "other"), ("1", "new")]
    assert list(zip(rejects["text"], rejects["reason"], strict=True)) == [("old", "superseded")]


def test_the_first_of_equal_rows_is_kept():
    table = rows(("1", "Card lost", "a"), ("2", "card  LOST", "a"), ("3", "ｃard lost", " a "))
    assert outcome(table) == (["1"], [("2", "exact_copy", "1"), ("3", "exact_copy", "1")])


def test_one_text_under_two_labels_is_rejected_under_both():
    table = rows(("1", "card lost", "b"), ("2", "Card lost", "a"), ("3", "card lost", "b"), ("4", "other", "a"))
    assert outcome(table) == (["4"], [(id_, "conflicting_labels", "a | b") for id_ in "123"])


def test_texts_that_differ_in_a_sign_are_kept_under_their_labels_and_listed():
    texts = ["C++ licence", "C# licence", "delivered?", "delivered!", "ok \U0001f44d", "ok \U0001f44e", "-5", "+5"]
    table = rows(*((str(n), text, f"label {n}") for n, text in enumerate(texts)))
    assert outcome(table) == ([*"01234567"], [])
    assert sorted(decision_on(table, LENIENT).near) == [["0", "1"], ["2", "3"], ["4", "5"], ["6", "7"]]


def test_words_that_differ_in_a_vowel_sign_are_kept():
    table = rows(("1", "\u092e\u0947\u0932", "a"), ("2", "\u092e\u093e\u0932", "b"), ("3", "\u092e\u0947\u0932", "a"))
    assert outcome(table) == (["1", "2"], [("3", "exact_copy", "1")])


def test_a_near_copy_of_a_test_row_goes_and_a_near_text_of_another_label_stays():
    table = rows(("1", "C++ licence", "a", "test"), ("2", "C# licence", "a"), ("3", "C licence", "b"))
    assert outcome(table) == (["1", "3"], [("2", "copy_of_test", "1")])


def test_a_label_with_few_rows_left_is_rejected():
    table = rows(("1", "one", "a"), ("2", "two", "a"), ("3", "three", "b"), ("4", "Three", "b"))
    assert outcome(table, replace(LENIENT, min_chars=1, max_chars=99, min_label_rows=2)) == (
        ["1", "2"],
        [("3", "rare_label", "1"), ("4", "exact_copy", "3")],
    )


def test_a_suppressed_row_no_longer_stands_in_the_way_of_others():
    table = rows(("1", "card lost", "a", "test"), ("2", "card lost", "b"), ("3", "Card lost", "b"))
    assert outcome(table) == (["1"], [("2", "contradicts_test", "1"), ("3", "contradicts_test", "1")])
    accepted, rejects = curate(table, LENIENT, FORGOTTEN)
    assert list(accepted["id"]) == ["2"] and list(rejects["reason"]) == ["suppressed", "exact_copy"]
    assert report(table, LENIENT, FORGOTTEN)["reasons"]["suppressed"] == 1


def test_other_rows_give_way_to_test_rows():
    table = rows(
        ("1", "card lost", "a", "train"),
        ("2", "Card  lost", "b"),
        ("3", " card lost\n", "a", "test"),
        ("4", "fine", "a", "val"),
    )
    assert outcome(table) == (["3", "4"], [("1", "copy_of_test", "3"), ("2", "contradicts_test", "3")])


def test_a_later_part_does_not_knock_out_what_an_earlier_one_brought():
    table = rows(
        ("1", "card lost", "a"),
        ("2", "Card lost", "a"),
        ("3", "two ways", "a"),
        ("4", "two ways", "b"),
        ("5", "card lost", "b"),
        ("6", "two ways", "b"),
        ("7", "new", "a"),
        ("8", "new", "b"),
    )
    _, rejects = stage.curate(table, Context(task_data.of("classify"), LENIENT, parts=(0, 4)))
    assert dict(zip(rejects["id"], zip(rejects["reason"], rejects["detail"], strict=True), strict=True)) == {
        "2": ("exact_copy", "1"),
        "5": ("contradicts_accepted", "1"),
        **dict.fromkeys("3467" + "8", ("conflicting_labels", "a | b")),
    }


def test_a_source_beyond_its_share_keeps_its_first_rows():
    table = rows(*((f"{n}", f"text {n}", "a") for n in range(10)))
    table["source"] = ["desk"] * 3 + ["flood"] * 7
    config = replace(LENIENT, poison=replace(POISON, max_source_share=0.6))
    _, rejects = curate(table, config)
    assert [*rejects["id"]] == ["7", "8", "9"] and {*rejects["detail"]} == {"4 rows of flood"}
    assert {*rejects["reason"]} == {"source_quota"}


def test_a_source_alone_has_no_quota():
    table = rows(*((f"{n}", f"text {n}", "a") for n in range(10)))
    _, rejects = curate(table, replace(LENIENT, poison=replace(POISON, max_source_share=0.1)))
    assert rejects.empty


def test_one_prompt_may_have_many_answers_and_a_rare_answer_is_no_typing_error():
    table = reply_rows(("1", "Where is it?", "a"), ("2", "where is it", "b"), ("3", "Where is it?", "a"))
    assert fates(table, "instruct") == (["1", "2"], [("3", "exact_copy", "1")])


def test_no_prompt_of_the_test_side_is_learned_from():
    table = reply_rows(("1", "Where?", "a"), ("2", "where", "b"), ("3", "Where? ", "a", "test"))
    assert fates(table, "instruct") == (["3"], [("1", "copy_of_test", "3"), ("2", "prompt_of_test", "3")])


def test_pairs_that_say_nothing_or_both_are_rejected():
    table = preference_rows(
        ("1", "Where?", "same", " same\n"),
        ("2", "Where?", "good", ""),
        ("3", "How?", "a", "b"),
        ("4", "how", "b", "a"),
        ("5", "How?", "a", "c"),
        ("6", "How?", "a", "c"),
        ("7", "Why?", "b", "a"),
    )
    assert fates(table, "prefer") == (
        ["5", "7"],
        [
            ("1", "no_preference", ""),
            ("2", "no_rejected", ""),
            ("3", "contradicts_itself", "4"),
            ("4", "contradicts_itself", "3"),
            ("6", "exact_copy", "5"),
        ],
    )


BANKING77 = Path(__file__).parents[4] / "shared" / "data" / "banking77"


@pytest.mark.skipif(not BANKING77.exists(), reason="needs the Banking77 files")
def test_banking77_keeps_its_test_side_whole():
    sides = {name: pd.read_csv(BANKING77 / f"{name}.csv", dtype="str") for name in ("train", "test")}
    table = rows(
        *(
            (f"{name}-{n}", text, label, name)
            for name, side in sides.items()
            for n, (text, label) in enumerate(zip(side["text"], side["category"], strict=True))
        )
    )
    accepted, rejects = curate(table, replace(LENIENT, min_chars=2, max_chars=20000, min_label_rows=10))
    assert list(accepted.loc[accepted["given"] == "test", "text"]) == list(sides["test"]["text"])
    assert rejects["reason"].value_counts().to_dict() == {"copy_of_test": 25, "exact_copy": 5}
