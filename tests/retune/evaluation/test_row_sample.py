import pandas as pd

from retune.evaluation import row_sample

IDS = pd.Series([f"r{n}" for n in range(50)])


def test_a_row_is_drawn_whatever_rows_stand_beside_it():
    first = IDS[row_sample.drawn(IDS, 20, seed=3)]
    fewer = IDS.drop(IDS[~IDS.isin(first)].index[:10])
    assert set(first) == set(fewer[row_sample.drawn(fewer, 20, seed=3)])
    assert set(first) != set(IDS[row_sample.drawn(IDS, 20, seed=4)])


def test_all_rows_are_drawn_where_they_are_few_and_no_row_where_there_is_none():
    assert row_sample.drawn(IDS, 100, seed=1).all()
    assert not len(row_sample.drawn(IDS.head(0), 100, seed=1))
