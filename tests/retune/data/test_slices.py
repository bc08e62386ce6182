import pandas as pd

from retune.data import slices


def rows(*cells):
    return pd.DataFrame({"slices": [slices.dump(cell) for cell in cells]})


def values_of(values):
    return {value: mask.nonzero()[0].tolist() for value, mask in slices.groups(pd.Series(values))}


def test_a_cell_is_the_same_whatever_the_order_of_its_columns():
    assert slices.dump({"b": "1", "a": "2"}) == slices.dump({"a": "2", "b": "1"}) == '{"a": "2", "b": "1"}'


def test_a_row_that_keeps_nothing_has_an_empty_cell():
    assert slices.dump_rows({"a": ["x", ""], "b": ["", ""]}) == ['{"a": "x", "b": ""}', ""]


def test_a_column_has_a_value_for_each_row():
    columns = slices.columns_of(rows({"a": "x"}, {}, {"a": "y", "b": "z"}))
    assert {name: list(values) for name, values in columns.items()} == {"a": ["x", "", "y"], "b": ["", "", "z"]}


def test_rows_of_an_earlier_release_keep_no_column():
    assert slices.columns_of(pd.DataFrame({"id": ["1"]})) == {}


def test_rows_without_a_value_are_no_slice():
    assert values_of(["x", "", "x", "y"]) == {"x": [0, 2], "y": [3]}


def test_the_smallest_of_many_values_are_one_slice():
    values = [f"v{n:02}" for n in range(22) for _ in range(3 if n > 1 else 2)]
    named = values_of(values)
    assert len(named) == 21 and named[slices.OTHERS] == [0, 1, 2, 3]


def test_a_column_that_names_rows_has_no_slices():
    values = [f"order {n}" for n in range(60)]
    assert slices.names_rows(pd.Series(values)) and values_of(values) == {}


def test_each_value_of_a_cell_is_changed_by_itself():
    assert slices.change('{"a": "x", "b": "y"}', str.upper) == '{"a": "X", "b": "Y"}'
