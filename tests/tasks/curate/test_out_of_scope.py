import json
from pathlib import Path

from retune.data import row_table, suppression
from retune.data.row_table import OTHER
from tasks.curate.__main__ import main
from tests.support.curation import FORGOTTEN, PATHS, rows

LABELLED = [(f"k{n}", f"a text about bills {n}", "bills") for n in range(12)]


def kept_apart(*others):
    row_table.write(rows(*LABELLED, *others), Path("raw/000.parquet"))
    main(*PATHS)
    report = json.loads(Path("curate.json").read_text("utf-8"))
    return row_table.read(Path("curated/out_of_scope.parquet")), report


def test_rows_of_no_label_are_counted_never_learned_and_kept_for_evaluation(stage_folder):
    apart, report = kept_apart(("o1", "Guten Morgen", OTHER), ("o2", "who won  the match", OTHER, "test"))
    assert apart.to_numpy().tolist() == [["o1", "Guten Morgen"], ["o2", "who won  the match"]]
    assert set(row_table.read(Path("curated/rows.parquet"))["label"]) == {"bills"}
    assert (report["reasons"]["out_of_scope"], report["kept"], report["received"]) == (2, 12, 14)
    assert report["out_of_scope"] == {"rows": 2, "in_scope": {"rows": 0, "ids": []}}


def test_a_text_that_stands_under_a_label_too_is_named_and_not_asked_and_a_copy_is_asked_once(stage_folder, capsys):
    apart, report = kept_apart(
        ("o1", "A text about BILLS 3!", OTHER), ("o2", "hi there", OTHER), ("o3", "Hi  there", OTHER)
    )
    assert apart["id"].tolist() == ["o2"]
    assert report["out_of_scope"] == {"rows": 3, "in_scope": {"rows": 1, "ids": ["o1"]}}
    assert f"warning: 1 rows of the label {OTHER} have a text that stands under a label too" in capsys.readouterr().out


def test_forgotten_rows_and_personal_data_are_not_among_them(stage_folder):
    suppression.write(FORGOTTEN, Path("suppressed.json"))
    apart, _ = kept_apart(("1", "a forgotten text", OTHER), ("o2", "write to ann@example.org about football", OTHER))
    assert apart["id"].tolist() == ["o2"]
    assert "ann@example.org" not in apart["text"].iloc[0] and "football" in apart["text"].iloc[0]


def test_a_row_that_was_corrected_to_no_label_is_not_learned_any_more(stage_folder):
    row_table.write(rows(("k3", "a text about bills 3", OTHER)), Path("raw/001.parquet"))
    apart, report = kept_apart()
    assert apart["id"].tolist() == ["k3"]
    assert (report["reasons"]["superseded"], report["reasons"]["out_of_scope"]) == (1, 1)


def test_without_such_rows_the_report_says_nothing_and_the_file_is_empty(stage_folder):
    apart, report = kept_apart()
    assert apart.empty and list(apart) == ["id", "text"] and "out_of_scope" not in report
