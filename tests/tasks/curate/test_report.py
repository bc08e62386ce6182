import pyarrow as pa
import pytest

from retune.data import task_data
from tasks.curate.report import Tally
from tests.support.curation import WRITING, reply_rows, report, rows


def test_the_report_counts_every_row():
    table = rows(("1", "one", "a"), ("2", "one", "a"), ("3", "two", "b", "test"))
    counts = report(table)
    assert (counts["received"], counts["kept"], counts["rejected"]) == (3, 2, 1)
    assert counts["reasons"] == {name: int(name == "exact_copy") for name in task_data.of("classify").curation}
    assert counts["labels"] == {"a": 1, "b": 1}
    assert counts["sources"] == {"desk": {"received": 3, "kept": 2}}
    assert counts["given"] == {"train": 0, "val": 0, "test": 1, "none": 1}


def test_the_report_names_no_answer():
    table = reply_rows(("1", "Where?", "a"), ("2", "Why?", "b"))
    counts = report(table, WRITING, task="instruct")
    assert (counts["kept"], counts["labels"]) == (2, {})
    assert list(counts["reasons"]) == [*task_data.of("instruct").curation]


def test_no_row_leaves_without_being_counted():
    tally = Tally(task_data.of("classify"))
    tally.receive(pa.RecordBatch.from_pydict({"source": ["desk"]}))
    with pytest.raises(AssertionError, match="1 rows received, but 0 kept and 0 rejected"):
        tally.report()
