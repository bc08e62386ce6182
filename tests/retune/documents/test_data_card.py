from retune.documents.data_card import data_card
from retune.lineage.record import problems


def test_the_card_says_where_rows_come_from_and_what_became_of_them(record):
    record["data"]["personal_data"] = {"rows": 4, "values": {"email": 5}}
    assert problems(record) == []
    card = data_card(record)
    for line in (
        "1,318 of 1,342 rows that came in were kept.",
        "| desk | 322 | 310 | 2026-01-01 to 2026-06-30 | own records, for use in this company only |",
        "| rejected: `exact_copy` | 8 |",
        "| personal data replaced: email | 5 |",
        "Then 11 expectations were checked: accepted.",
        "Rows: train 989, val 132, test 197.",
        "| billing | 315 | 42 | 63 |",
        f"`data_report.html` of the MLflow run `{record['started']['mlflow_run']}`",
        record["data"]["curated"]["md5"],
    ):
        assert line in card
    assert "no_id" not in card, "a step that did nothing"


def test_what_is_missing_is_a_known_gap(record):
    gaps = (
        "- No licence is stated for desk.",
        "- No test row of 1 label: billing.",
        "- 7 rows could not be read.",
    )
    assert not any(gap in data_card(record) for gap in gaps)
    record["data"]["sources"]["desk"]["licence"] = ""
    record["data"]["sides"]["test"]["labels"]["billing"] = 0
    record["data"]["unreadable"] = {"rows": 7, "reasons": {"not UTF-8": 7}, "sources": {"desk": 7}}
    card = data_card(record)
    assert [gap for gap in gaps if gap not in card] == []


def test_many_labels_are_cut_to_the_largest(record):
    for side in record["data"]["sides"].values():
        side["labels"] = {f"l{number:03d}": 1 for number in range(45)}
    assert "and 15 smaller labels." in data_card(record)
