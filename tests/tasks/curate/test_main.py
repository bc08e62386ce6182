import io
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.data import row_table, suppression, text_keys
from retune.data.row_table import COLUMNS, clean
from retune.errors import Refused, WrongUse
from retune.system import files
from tasks import ingest
from tasks.curate import __main__ as stage
from tasks.curate.__main__ import main
from tests.support.curation import FORGOTTEN, LENIENT, PATHS, WRITING, curate, rows, user_message
from tests.support.environment import ROOT


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "1", "2", "3", "4", "5"]),
            st.sampled_from(["", "a", "A ", "b\u200b", "b", "longer text"]),
            st.sampled_from(["", "x", "x ", "y"]),
            st.sampled_from(["", "train", "val", "test"]),
        ),
        max_size=12,
    ),
    st.integers(1, 3),
)
def test_no_row_is_lost_or_doubled(some, least):
    table = rows(*some)
    before = table.copy()
    accepted, rejects = curate(table, replace(LENIENT, min_chars=1, max_chars=5, min_label_rows=least))
    assert len(accepted) + len(rejects) == len(table)
    assert sorted([*accepted.index, *rejects.index]) == list(table.index)
    assert accepted["id"].is_unique
    assert not text_keys.same(accepted["text"].map(clean).astype("str"))[accepted["given"] != "test"].duplicated().any()
    pd.testing.assert_frame_equal(rejects[list(COLUMNS)], table.loc[rejects.index])
    pd.testing.assert_frame_equal(table, before)


CELLS = {
    "id": ["", "1", "2", "3", "4", "5"],
    "text": ["", "a", "A ", "b\u200b", "b", "longer text", "ann@example.org"],
    "answer": ["", "x", "x ", "y"],
    "given": ["", "train", "val", "test"],
}


def same(one_tables, other_tables):
    return all(
        one.equals(other) and one.index.equals(other.index) for one, other in zip(one_tables, other_tables, strict=True)
    )


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(*(st.sampled_from(values) for values in CELLS.values())), max_size=30),
    st.sampled_from(["classify", "instruct", "prefer"]),
)
def test_the_size_of_the_batches_changes_nothing(some, task):
    table = rows(*some)
    if task != "classify":
        table = table.assign(text=table["text"].map(user_message).astype("str"))
    table["rejected"] = table["label"].iloc[::-1].to_numpy()
    config = replace(LENIENT, min_chars=1, max_chars=5, min_label_rows=2) if task == "classify" else WRITING
    whole = curate(table, config, FORGOTTEN, task)
    for size in (1, 7, 1000):
        assert same(curate(table, config, FORGOTTEN, task, size), whole)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_size_of_the_batches_changes_no_byte_of_the_files(stage_folder, monkeypatch, size):
    row_table.write(rows(*((str(n % 40), f"text {n % 30}", "ab"[n % 2]) for n in range(50))), Path("raw/000.parquet"))
    row_table.write(rows(*((str(n), f"words {n}", "a", "test") for n in range(9))), Path("raw/001.parquet"))
    main(*PATHS)
    files = [PATHS[4], *sorted(PATHS[3].iterdir())]
    before = [file.read_bytes() for file in files]
    monkeypatch.setattr(stage.from_folder, "__defaults__", (size,))
    main(*PATHS)
    assert [file.read_bytes() for file in files] == before
    monkeypatch.setattr(row_table, "GROUP", 16)
    main(*PATHS)
    assert pq.read_metadata(PATHS[3] / "rows.parquet").num_row_groups > 1
    assert row_table.read(PATHS[3] / "rows.parquet").equals(pq.read_table(io.BytesIO(before[-1])).to_pandas())


GOLDEN = {
    "classify": ("tickets.csv", ingest.Columns("body", "queue", "ticket_id", "customer_id")),
    "instruct": ("replies.csv", ingest.Columns("prompt", "completion", "request_id", "customer_id")),
    "prefer": ("preferences.csv", ingest.Columns("prompt", "chosen", "pair_id", "customer_id", None, "rejected")),
}


BYTES = {  # begin of the sha256 of rows, rejects and report: what the stage gave when it held all rows in memory
    "classify": ["f91ff26f748b3a79", "33a3381afc807b40", "929b1b988bb4e7df"],
    "instruct": ["17a71f922700056c", "8d33984dbdb711ae", "b8dde946984a0bf1"],
    "prefer": ["2e3104c2f926bed3", "5bce07fdcf47850f", "754570e6220e7706"],
}


@pytest.mark.parametrize("task", GOLDEN)
def test_the_samples_give_the_bytes_that_they_always_gave(stage_folder, task):
    file, columns = GOLDEN[task]
    if task != "classify":
        Path("params.yaml").write_bytes((ROOT / f"retune/config/defaults/{task}.yaml").read_bytes())
    ingest.ingest(str(ROOT / "tests/samples" / file), PATHS[0], columns, ingest.Rules(task, 0.0))
    main(*PATHS)
    outputs = [PATHS[3] / "rows.parquet", PATHS[3] / "rejects.parquet", PATHS[4]]
    assert [files.file_sha256(path)[:16] for path in outputs] == BYTES[task]


def test_curating_twice_rejects_nothing_more():
    table = rows(("1", " a\tb ", "x"), ("2", "A B", "x"), ("3", "c", "y"), ("4", "c", "z"), ("5", "d", "x", "test"))
    accepted, _ = curate(table, LENIENT)
    again, rejects = curate(accepted, LENIENT)
    assert rejects.empty
    pd.testing.assert_frame_equal(again, accepted.reset_index(drop=True))


def test_the_stage_reads_the_parts_in_order_and_writes_its_files(stage_folder):
    row_table.write(rows(*((str(n), f"text {n}", "a") for n in range(10))), Path("raw/000.parquet"))
    row_table.write(rows(("1", "changed", "a")), Path("raw/001.parquet"))
    main(*PATHS)
    accepted, rejects = (row_table.read(Path("curated") / name) for name in ("rows.parquet", "rejects.parquet"))
    assert accepted.set_index("id").loc["1", "text"] == "changed"
    assert list(rejects.columns) == [*COLUMNS, "reason", "detail"]
    assert json.loads(Path("curate.json").read_text())["reasons"]["superseded"] == 1
    first = Path("curated/rows.parquet").read_bytes()
    main(*PATHS)
    assert Path("curated/rows.parquet").read_bytes() == first


def test_what_ingest_could_not_read_is_counted_among_the_rows_that_came(stage_folder, capsys):
    Path("t.csv").write_text("id,text,label\n" + "".join(f"{n},some words {n},a\n" for n in range(12)) + "x,y\nz\n")
    result = ingest.ingest("t.csv", PATHS[0], ingest.Columns(id="id"), ingest.Rules("classify", 0.5))
    main(*PATHS)
    report = json.loads(Path("curate.json").read_text())
    unreadable = {"rows": 2, "reasons": {"wrong number of fields": 2}, "sources": {"t": 2}}
    assert (report["received"], report["kept"], report["unreadable"]) == (12, 12, unreadable)
    assert result.received == 14
    assert capsys.readouterr().out.splitlines()[-1] == "kept 12 of 14 rows; rejected: unreadable 2"


def test_no_rows_give_empty_files(stage_folder):
    Path("raw").mkdir()
    main(*PATHS)
    assert list(row_table.read(Path("curated/rows.parquet")).columns) == list(COLUMNS)
    assert list(row_table.read(Path("curated/rejects.parquet")).columns) == [*COLUMNS, "reason", "detail"]
    assert json.loads(Path("curate.json").read_text())["received"] == 0


def test_the_stage_leaves_out_the_rows_of_the_list_and_does_nothing_without_it(stage_folder):
    row_table.write(rows(*((str(n), f"text {n}", "a") for n in range(12))), Path("raw/000.parquet"))
    suppression.write(FORGOTTEN, Path("suppressed.json"))
    main(*PATHS)
    assert "1" not in set(row_table.read(Path("curated/rows.parquet"))["id"])
    assert row_table.read(Path("curated/rejects.parquet"))[["id", "text"]].to_numpy().tolist() == [["1", ""]]
    before = Path("curated/rows.parquet").read_bytes()
    Path("suppressed.json").write_text('{"salt": "', "utf-8")
    with pytest.raises(Refused, match=r"suppressed\.json is not a list"):
        main(*PATHS)
    assert Path("curated/rows.parquet").read_bytes() == before


def test_rows_without_a_column_are_a_wrong_use():
    with pytest.raises(WrongUse, match="lack label"):
        curate(rows(("1", "one", "a")).drop(columns="label"), LENIENT)
