import pandas as pd
import pytest

from retune.data import row_table, source_facts
from retune.errors import Broken, WrongUse


def put(raw, *names):
    rows = pd.DataFrame([("1", "words", "a", "", name, "") for name in names], columns=list(row_table.COLUMNS))
    row_table.write(rows.astype("str"), raw / "00001.parquet")


def test_every_source_of_the_rows_is_told_and_what_was_not_stated_says_so(tmp_path):
    put(tmp_path, "mail", "desk", "mail")
    source_facts.write({"desk": {"licence": "MIT"}, "gone": {"collected": "2026"}}, tmp_path)
    assert source_facts.sources(tmp_path) == {
        "desk": {"licence": "MIT", "collected": "not stated"},
        "gone": {"licence": "not stated", "collected": "2026"},
        "mail": {"licence": "not stated", "collected": "not stated"},
    }
    assert list(source_facts.sources(tmp_path)) == ["desk", "gone", "mail"]


def test_rows_are_read_as_if_the_statement_was_not_there(tmp_path):
    put(tmp_path, "mail")
    source_facts.write({"mail": {"licence": "MIT"}}, tmp_path)
    assert list(row_table.read(tmp_path)["source"]) == ["mail"]


def test_no_folder_and_no_file_state_nothing(tmp_path):
    assert source_facts.sources(tmp_path / "nowhere") == source_facts.read(tmp_path) == {}


def test_the_order_in_which_things_are_stated_does_not_show(tmp_path):
    written = []
    for stated in (
        {"a": {"licence": "x", "collected": "2026"}, "b": {"licence": "y"}},
        {"b": {"licence": "y"}, "a": {"collected": "2026", "licence": "x"}},
    ):
        source_facts.write(stated, tmp_path)
        written.append((tmp_path / "sources.json").read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": {"price": "x"}}', '{"a": {"licence": null}}', "\x00"])
def test_a_damaged_file_is_told_and_never_taken_for_nothing(tmp_path, text):
    (tmp_path / "sources.json").write_text(text, "utf-8")
    with pytest.raises(Broken, match="dvc checkout"):
        source_facts.read(tmp_path)


@pytest.mark.parametrize(
    "window",
    [
        "2026", "2026-03", "2026-03-31", "2024-02-29", "2026/2026", "2025/2026-03", "2026-01-01/2026-03-31",
        "2026-03-31/2026-03-31", "2026-03/2026-03-31", "2025-12-31/2026",
    ],
)  # fmt: skip
def test_a_day_a_month_a_year_or_two_of_these_are_a_window(window):
    assert source_facts.facts(None, f" {window} ") == {"collected": window}


@pytest.mark.parametrize(
    "window",
    [
        "spring 2026", "26", "2026-13", "2026-02-29", "2026-1", "0000", "2026-00", "2026-01-01T00:00", "20260101",
        "2026/", "/2026", "2026/2027/2028", "2026-01-01 - 2026-03-31", "٢٠٢٦", "2026-01\n",
    ],
)  # fmt: skip
def test_free_text_is_no_window(window):
    if window.strip() == window:
        with pytest.raises(WrongUse, match="is not a period"):
            source_facts.facts(None, window)
    with pytest.raises(WrongUse, match="is not a period"):
        source_facts.check_window(window)


@pytest.mark.parametrize("window", ["2026/2025", "2026-02/2026-01-31", "2026-03-31/2026-03-30", "2026-03/2026-03-30"])
def test_a_window_does_not_end_before_it_begins(window):
    with pytest.raises(WrongUse, match="ends before it begins"):
        source_facts.check_window(window)


def test_nothing_stated_is_nothing():
    assert source_facts.facts(None, None) == {}
    with pytest.raises(WrongUse, match="licence is empty"):
        source_facts.facts("\n", None)
