from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.errors import Refused
from tasks import split as stage
from tests.tasks.test_split import PARAMS, lone, rows, side_of, split


def near_copies(*some):
    """The table of clusters: each the ids of its rows, the first one first."""
    pairs = [(row, ids[0]) for ids in some for row in ids]
    return pd.DataFrame(pairs, columns=["id", "cluster"]).astype("str")


def falling_on(side, count, table=None):
    """Rows that fall on this side by themselves."""
    table = lone(400) if table is None else table
    return [row for row, name in side_of(table).items() if name == side][:count]


def test_near_copies_stand_on_the_side_of_the_first_that_arrived():
    table, (test, train) = lone(400), (falling_on("test", 2), falling_on("train", 2))
    clusters = near_copies((test[0], train[0]), (train[1], test[1]))
    before, after = side_of(table), side_of(table, clusters=clusters)
    moved = {row: side for row, side in after.items() if side != before[row]}
    assert moved == {train[0]: "test", test[1]: "train"}
    shuffled = table.sample(frac=1, random_state=3)
    assert side_of(shuffled, clusters=clusters) == after


def test_near_copies_keep_their_groups_whole():
    lone_test, lone_train = falling_on("test", 1)[0], falling_on("train", 1)[0]
    table = pd.concat([lone(400), rows(("a1", "A", ""), ("a2", "A", ""), ("b1", "B", ""), ("b2", "B", ""))])
    table = table.reset_index(drop=True)
    for first in (lone_test, lone_train):
        after = side_of(table, clusters=near_copies((first, "a1"), ("a2", "b1")))
        assert {after[row] for row in ("a1", "a2", "b1", "b2")} == {side_of(table)[first]}


def test_a_row_that_arrives_later_moves_the_younger_of_two_wholes_and_nobody_else():
    table, (old, young, bridge) = (
        lone(400),
        (falling_on("test", 1)[0], falling_on("train", 1)[0], falling_on("train", 2)[1]),
    )
    apart = near_copies((old, "r00398"), (young, "r00399"))
    joined = pd.DataFrame({"id": [old, young, "r00398", "r00399", bridge], "cluster": old}).astype("str")
    before, after = side_of(table, clusters=apart), side_of(table, clusters=joined)
    assert {row for row in after if after[row] != before[row]} <= {young, "r00399", bridge}
    assert {after[row] for row in joined["id"]} == {"test"}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 59), st.integers(0, 59)), max_size=20), st.integers(0, 60))
def test_no_near_copy_of_a_test_row_is_learned_from(pairs, grouped):
    table = lone(60)
    table["group"] = [f"g{n % 7}" if n < grouped else "" for n in range(60)]
    head = list(range(60))
    for one, other in pairs:
        low, high = sorted((head[one], head[other]))
        head = [low if each == high else each for each in head]
    clusters = near_copies(*([f"r{n:05d}" for n in range(60) if head[n] == each] for each in {*head}))
    clusters = clusters[clusters["cluster"].duplicated(keep=False)].sort_values("id")
    sides = split(table, PARAMS, clusters)
    side = {row: name for name, each in sides.items() for row in each["id"]}
    assert all(len({side[row] for row in each}) == 1 for _, each in clusters.groupby("cluster")["id"])
    units = stage.units(table, clusters, PARAMS, "classify")
    assert stage.near_copies(table, units, clusters, sides, "classify")["apart"] == {"rows": 0, "ids": []}


def test_a_given_side_wins_and_what_stands_apart_is_told():
    table = rows(*((f"r{n}", "", "") for n in range(30)), ("t", "", "test"), ("a", "", "train"), ("b", "", ""))
    clusters = near_copies(("a", "b", "t"))
    sides = split(table, PARAMS, clusters)
    side = {row: name for name, each in sides.items() for row in each["id"]}
    assert (side["a"], side["b"], side["t"]) == ("train", "test", "test")
    units = stage.units(table, clusters, PARAMS, "classify")
    report = stage.near_copies(table, units, clusters, sides, "classify")
    assert report["apart"] == {"rows": 1, "ids": ["a"]}
    assert "such as a" in stage.check_near_copies(report, len(table), PARAMS)[0]
    labels = table.assign(label=["a"] * 31 + ["b", "a"])
    other = stage.near_copies(labels, units, clusters, split(labels, PARAMS, clusters), "classify")
    assert other["apart"]["rows"] == 0  # one of another label tells the test nothing


def test_a_cluster_too_large_for_one_side_is_refused():
    table, params = lone(100), replace(PARAMS, max_group_share=0.2)
    clusters = near_copies([f"r{n:05d}" for n in range(30)])
    units = stage.units(table, clusters, params, "classify")
    report = stage.near_copies(table, units, clusters, split(table, params, clusters), "classify")
    assert report["most"] == {"id": "r00000", "rows": 30}
    with pytest.raises(Refused, match=r"30 of 100 rows \(30%\) are near-copies of row r00000.*max_group_share \(0.2\)"):
        stage.check_near_copies(report, 100, params)
    assert stage.check_near_copies(report, 100, PARAMS) == []


def test_groups_that_near_copies_chain_into_too_many_rows_stay_by_themselves_and_are_told():
    table = rows(*((f"r{n:02d}", f"c{n // 2}", "") for n in range(100)))
    clusters = near_copies(*((f"r{n:02d}", f"r{n + 1:02d}") for n in range(1, 99, 2)))
    params = replace(PARAMS, max_group_share=0.2)
    assert side_of(table, params, clusters) == side_of(table, params)
    units = stage.units(table, clusters, params, "classify")
    report = stage.near_copies(table, units, clusters, split(table, params, clusters), "classify")
    (sentence,) = stage.check_near_copies(report, 100, params)
    assert f"{report['apart']['rows']} rows are learned from whose near-copies are tested" in sentence
    assert len({*split(table, PARAMS, clusters)["train"]["id"]}) in (0, 100)
