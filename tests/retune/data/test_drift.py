import random

import pandas as pd

from retune.data import drift


def rows(count, label=lambda number: "ab"[number % 2], text=lambda number: "the parcel is late", source="desk"):
    table = [(text(number), label(number), source) for number in range(count)]
    return pd.DataFrame(table, columns=["text", "label", "source"])


def test_rows_like_those_before_show_no_drift():
    draw = random.Random(1)
    words = ["invoice", "parcel", "router", "refund", "please", "again"]
    before, now = (rows(count, text=lambda _: " ".join(draw.choices(words, k=4))) for count in (900, 300))
    change = drift.compare(before, now, has_labels=True)
    assert change.changed == 0 and change.label_distance < 0.01
    assert (change.rows_before, change.rows_now) == (900, 300)


def test_a_label_a_source_and_a_word_that_come_up_are_named_with_their_shares():
    before = rows(400)
    now = rows(
        100, label=lambda n: "c" if n < 40 else "a", text=lambda n: "strike!" if n < 50 else "late", source="fax"
    )
    change = drift.compare(before, now, has_labels=True)
    assert {(each.name, each.before, each.now) for each in change.labels} == {("b", 0.5, 0.0), ("c", 0.0, 0.4)}
    assert {each.name: each.now for each in change.sources} == {"fax": 1.0, "desk": 0.0}
    assert ("strike", 0.0, 0.5) in {(each.name, each.before, each.now) for each in change.words}
    assert change.label_distance == 0.5
    assert change.median_length == (18.0, 5.5)


def test_a_word_counts_once_a_row_and_digits_are_no_words():
    change = drift.compare(rows(100), rows(100, text=lambda _: "late late late 123 x"), has_labels=False)
    assert {each.name: each.now for each in change.words} == {"parcel": 0.0, "the": 0.0, "is": 0.0}
    assert change.labels == ()


def test_too_few_rows_tell_nothing():
    assert drift.compare(rows(500), rows(drift.LEAST - 1), has_labels=True) is None
    assert drift.compare(rows(drift.LEAST - 1), rows(500), has_labels=True) is None


def test_of_many_rows_an_even_sample_is_read(monkeypatch):
    monkeypatch.setattr(drift, "MOST_ROWS", 50)
    change = drift.compare(rows(1000), rows(1000, text=lambda _: "strike"), has_labels=True)
    assert {each.name: (each.before, each.now) for each in change.words}["strike"] == (0.0, 1.0)
