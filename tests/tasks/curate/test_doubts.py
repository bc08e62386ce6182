import pyarrow as pa

from retune.data import task_data
from tasks.curate.doubts import Doubts
from tests.support.curation import reply_rows, rows


def doubts(table, task="classify"):
    each = Doubts(task_data.of(task))
    each.add(pa.RecordBatch.from_pandas(table, preserve_index=False))
    return each


def test_words_for_nothing_are_told_with_counts_and_rows():
    table = rows(("1", "nan", "NULL"), ("2", "card", "NULL"), ("3", "lost", "a")).assign(group=["N/A", "", "C-1"])
    each = doubts(table)
    assert each.report()["look_missing"] == {
        "text": {"nan": {"rows": 1, "ids": ["1"]}},
        "label": {"NULL": {"rows": 2, "ids": ["1", "2"]}},
        "group": {"N/A": {"rows": 1, "ids": ["1"]}},
    }
    assert "stand as label: 'NULL' 2 times (rows 1, 2)" in each.warnings()[1]
    assert "list them in curate.missing_words" in each.warnings()[1]


def test_an_id_that_says_nothing_is_told_with_another_remedy():
    assert "stand as id: 'nan' 1 times" in doubts(rows(("nan", "card", "a"))).warnings()[0]
    assert "leave the cell empty" in doubts(rows(("nan", "card", "a"))).warnings()[0]


def test_a_prompt_or_answer_that_says_nothing_is_told():
    report = doubts(reply_rows(("1", "None", "Yes."), ("2", "Where?", "nan")), "instruct").report()
    assert list(report["look_missing"]) == ["text", "label"]


def test_labels_alike_are_told_with_the_mapping_to_write():
    (warning,) = doubts(rows(("1", "x", "billing"), ("2", "y", "billing"), ("3", "z", "Billing."))).warnings()
    assert "'Billing.' 1, 'billing' 2 rows" in warning
    assert "set curate.merge_labels to {'Billing.': 'billing'}" in warning


def test_several_labels_in_a_cell_are_told():
    (warning,) = doubts(rows(("1", "x", "a;b"), ("2", "y", "a"))).warnings()
    assert "several labels in one cell: 'a;b' 1 rows" in warning


def test_clean_rows_raise_no_doubt():
    each = doubts(rows(("1", "x", "a"), ("2", "y", "b")))
    assert each.warnings() == []
