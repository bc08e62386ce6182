import pandas as pd

from retune.data import slices
from retune.evaluation import slice_scores
from retune.evaluation.statistics import Interval


def rows(*values):
    return pd.DataFrame({"slices": [slices.dump({"channel": value}) for value in values]})


def test_each_value_is_scored_on_its_own_rows():
    table = rows(*["mail"] * 12, *["chat"] * 10)
    (column,) = slice_scores.of_rows(table, lambda places: {"accuracy": Interval(float(places[0]), 0.0, 1.0)})
    assert column["column"] == "channel" and not column["names_rows"]
    assert [(each["value"], each["rows"], each["scores"]["accuracy"]["value"]) for each in column["values"]] == [
        ("chat", 10, 12.0),
        ("mail", 12, 0.0),
    ]


def test_a_slice_of_few_rows_has_their_number_alone():
    (column,) = slice_scores.of_rows(rows(*["mail"] * 9), lambda places: {"accuracy": Interval(1.0, 1.0, 1.0)})
    assert column["values"] == [{"value": "mail", "rows": 9, "scores": {}}]


def test_rows_that_keep_no_column_have_no_slices():
    assert slice_scores.of_rows(pd.DataFrame({"id": ["1"]}), lambda places: {}) == []
