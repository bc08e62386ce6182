"""Which two versions of data/raw can be joined, and which only a person can."""

import pytest

from retune.data import raw_merge

BASE = {"00001-a.parquet": "1"}


def test_all_that_either_side_added_is_in_the_joined_listing():
    our_side, their_side = {**BASE, "00002-ours.parquet": "2"}, {**BASE, "00002-theirs.parquet": "3"}
    joined = {**BASE, "00002-ours.parquet": "2", "00002-theirs.parquet": "3"}
    assert raw_merge.join_parts(BASE, our_side, their_side) == joined
    assert raw_merge.join_parts(BASE, their_side, our_side) == joined


def test_two_sides_without_a_common_begin_are_joined():
    assert raw_merge.join_parts({}, {"a": "1"}, {"b": "2"}) == {"a": "1", "b": "2"}


@pytest.mark.parametrize("sides", [({}, {**BASE, "b": "2"}), ({**BASE, "b": "2"}, {})])
def test_a_part_that_one_side_took_away_is_for_a_person(sides):
    with pytest.raises(raw_merge.NotOnlyAdded, match=r"00001-a\.parquet stood in data/raw before"):
        raw_merge.join_parts(BASE, *sides)


def test_one_name_with_two_contents_is_for_a_person():
    with pytest.raises(raw_merge.NotOnlyAdded, match=r"other bytes as b"):
        raw_merge.join_parts({}, {"b": "1"}, {"b": "2"})


def test_what_one_side_states_of_a_source_is_taken_and_ours_stands_where_both_do():
    base = b'{"a": {"licence": "old"}, "b": {"licence": "old"}}'
    our_side = b'{"a": {"licence": "old"}, "b": {"licence": "mine"}}'
    their_side = b'{"a": {"licence": "new"}, "b": {"licence": "yours"}, "c": {"collected": "2026"}}'
    facts = raw_merge.join_facts([base, our_side, their_side])
    assert facts.stated == {"a": {"licence": "new"}, "b": {"licence": "mine"}, "c": {"collected": "2026"}}
    assert facts.overruled == ("the licence of b stays 'mine'; theirs says 'yours'",)
    assert raw_merge.join_facts([None, None, None]) is None
