import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.data import row_table


def rows(*texts):
    return pd.DataFrame(
        [(f"r{n}", text, "a", "", "desk", "") for n, text in enumerate(texts)], columns=list(row_table.COLUMNS)
    ).astype("str")


def test_rows_come_back_as_they_were_written(tmp_path):
    table = rows("one", "zwei 🙂", "")
    row_table.write(table, tmp_path / "new" / "rows.parquet")
    assert row_table.read(tmp_path / "new" / "rows.parquet").equals(table)


def test_the_same_rows_give_the_same_bytes(tmp_path):
    table = rows("one", "two")
    row_table.write(table, tmp_path / "a.parquet")
    row_table.write(table[table["id"] != "none"].copy(), tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_parts_of_a_folder_are_read_in_the_order_of_their_names(tmp_path):
    row_table.write(rows("later"), tmp_path / "00002-b.parquet")
    row_table.write(rows("first"), tmp_path / "00001-z.parquet")
    read = row_table.read(tmp_path)
    assert read["text"].tolist() == ["first", "later"]
    assert read.index.tolist() == [0, 1]


def test_an_empty_folder_is_a_table_without_rows(tmp_path):
    read = row_table.read(tmp_path)
    assert (len(read), tuple(read.columns)) == (0, row_table.COLUMNS)


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "rows.parquet"
    row_table.write(rows("old"), path)
    with pytest.raises(pa.ArrowException):
        row_table.write(rows("new").assign(text=[object()]), path)
    assert row_table.read(path)["text"].tolist() == ["old"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("dirty", "tidy"),
    [
        ("one\r\ntwo\rthree\u2028four", "one\ntwo\nthree\nfour"),
        ("\n\nif x:\n    y  \n\n\tz\t\n \n", "if x:\n    y\n\n\tz"),
        ("a   b\u00a0c", "a   b c"),
        ("zero\u200bwidth\x00\x07 \u200d \ufeffmark", "zerowidth  mark"),
        ("cafe\u0301\n", "caf\u00e9"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),
        (" \u200b\n\u200d ", ""),
    ],
)
def test_a_text_of_many_lines_keeps_its_shape(dirty, tidy):
    assert row_table.clean_lines(dirty) == tidy


@given(st.text())
def test_cleaning_lines_twice_changes_nothing_more_and_loses_no_word(text):
    once = row_table.clean_lines(text)
    assert row_table.clean_lines(once) == once
    assert row_table.clean(once) == row_table.clean(text)
