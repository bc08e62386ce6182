import numpy as np
import pandas as pd
import pytest

from retune.data import slices
from retune.evaluation import slice_search
from retune.evaluation.slice_search import Condition


def rows(count=600, **columns):
    """Rows of two sources in turn, with these further columns."""
    table = pd.DataFrame({"source": [("desk", "shop")[n % 2] for n in range(count)]})
    return table.assign(slices=slices.dump_rows(columns)) if columns else table


def parts_of(table, min_rows=20):
    return slice_search.slices_of(slice_search.columns_of(table, ["text"] * len(table)), min_rows)


def surely_worse(losses, parts, permutations=200):
    search = slice_search.search(np.asarray(losses, dtype=float), parts, permutations, 0.05, seed=1)
    return [each.slice.conditions for each in search.judgements if each.p <= 0.05]


def test_a_model_that_is_right_except_in_one_source_is_caught():
    table = rows(channel=[("mail", "chat", "call")[n % 3] for n in range(600)])
    wrong = (table["source"] == "shop") & (np.arange(600) % 4 == 1)
    assert surely_worse(wrong, parts_of(table))[0] == (Condition("source", "shop"),)


def test_a_pair_is_named_where_neither_of_its_conditions_is_bad_by_itself():
    draw = np.random.default_rng(3)
    table = rows(1200, channel=draw.choice(["mail", "chat", "call"], 1200), region=draw.choice(["EU", "US"], 1200))
    columns = slices.columns_of(table)
    both = ((columns["channel"] == "chat") & (columns["region"] == "EU")).to_numpy()
    wrong = draw.random(1200) < np.where(both, 0.4, 0.1)
    assert surely_worse(wrong, parts_of(table))[0] == (Condition("channel", "chat"), Condition("region", "EU"))


def test_chance_alone_raises_an_alarm_in_few_runs():
    draw = np.random.default_rng(5)
    table = rows(400, channel=draw.choice(list("abcd"), 400), region=draw.choice(list("efg"), 400))
    parts = parts_of(table)
    alarms = [bool(surely_worse(draw.random(400) < 0.2, parts, 100)) for _ in range(60)]
    assert np.mean(alarms) <= 0.15, "5% are expected; 15% of 60 runs come by chance once in 500 times"


def test_the_same_rows_give_the_same_result_and_none_says_why_the_search_is_over():
    table = rows(200)
    parts, losses = parts_of(table), np.arange(200) % 7 == 0
    one, same = (slice_search.search(losses.astype(float), parts, 100, 0.05, seed=2) for _ in range(2))
    assert one.detectable == same.detectable and [each.p for each in one.judgements] == [
        each.p for each in same.judgements
    ]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_rows_have_no_slices(count):
    assert slice_search.search(np.zeros(count), parts_of(rows(count)), 100, 0.05, seed=1).judgements == ()


def test_a_model_without_a_mistake_has_no_worse_slice_and_nothing_to_detect_by():
    search = slice_search.search(np.zeros(100), parts_of(rows(100)), 100, 0.05, seed=1)
    assert (search.judgements, search.detectable) == ((), None)


def test_dates_are_searched_by_month_numbers_and_lengths_by_quarter_and_names_of_rows_not_at_all():
    table = rows(
        80,
        day=[f"2026-{1 + n // 40:02d}-{1 + n % 28:02d}T{n % 24:02d}:{n % 60:02d}" for n in range(80)],
        amount=[f"{n}.5" for n in range(80)],
        order=[f"order {n}" for n in range(80)],
        language=["en", "de"] * 40,
    )
    columns = slice_search.columns_of(table, ["x" * n for n in range(80)])
    assert set(columns) == {"source", "length", "day, month", "amount", "language"}
    assert set(columns["day, month"]) == {"2026-01", "2026-02"}
    assert columns["length"].value_counts().to_dict() == {f"{20 * n} to {20 * n + 19}": 20 for n in range(4)}
    assert columns["amount"].nunique() == 4


def test_equal_parts_are_judged_once_by_their_shortest_name():
    table = rows(100, shop=[("no", "yes")[n % 2] for n in range(100)])
    names = [" and ".join(map(str, part.conditions)) for part in parts_of(table)]
    assert names == ["source desk", "source shop"]


def test_each_slice_has_the_fewest_rows_and_leaves_as_many():
    table = rows(100, channel=["mail"] * 90 + ["chat"] * 10)
    assert all(20 <= part.rows.sum() <= 80 for part in parts_of(table))
