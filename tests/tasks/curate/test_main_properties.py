"""What holds of curation whatever the rows are: copies, near-copies and personal data are among them."""

from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.config.common import NearCopies
from retune.data import text_keys
from tests.support.curation import NEAR, WRITING, curate, rows, user_message

BASES = (
    "I sent the router back in May and the {} is still not on my card",
    "please send order {} to my office since it comes on a Saturday",
    "can order {} still be stopped as I found the camera elsewhere",
)
VALUES = ("12.99", "A3318", "ann@example.org", "4111 1111 1111 1111", "+44 20 7946 0018", "it")
SECRETS = ("ann@example.org", "4111", "7946 0018")
ENDS = ("", "!", " really", " thank you", " Thank you and good bye")
TEXT = st.builds(
    lambda base, value, end: base.format(value) + end,
    st.sampled_from(BASES),
    st.sampled_from(VALUES),
    st.sampled_from(ENDS),
)
TABLE = st.lists(st.tuples(TEXT, st.sampled_from("ab"), st.sampled_from(["", "", "train", "test"])), max_size=14)
KEEP = st.sampled_from(["all", "one"])
TASK = st.sampled_from(["classify", "instruct"])


def table_of(some, task, start=0):
    texts = [user_message(text) if task == "instruct" else text for text, *_ in some]
    return rows(*((f"r{n + start}", text, *rest) for n, (text, (_, *rest)) in enumerate(zip(texts, some, strict=True))))


def config_of(keep, task):
    return replace(
        NEAR if task == "classify" else WRITING, near_copies=NearCopies(similarity=0.8, semantic=None, keep=keep)
    )


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(TABLE, KEEP, TASK)
def test_no_row_is_lost_no_secret_leaks_and_curating_again_changes_nothing(some, keep, task):
    table, config = table_of(some, task), config_of(keep, task)
    accepted, rejects = curate(table, config, task=task)
    assert sorted([*accepted.index, *rejects.index]) == [*table.index]
    assert not any(secret in text for text in [*accepted["text"], *rejects["text"]] for secret in SECRETS)
    again, more = curate(accepted, config, task=task)
    assert more.empty
    pd.testing.assert_frame_equal(again, accepted.reset_index(drop=True))


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(TABLE, TASK, st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_neither_the_texts_nor_the_reasons(some, task, chance):
    def outcome_of(order):
        accepted, rejects = curate(table_of(order, task), config_of("all", task), task=task)
        return {*text_keys.same(accepted["text"])}, Counter(rejects["reason"])

    assert outcome_of(some) == outcome_of(chance.sample(some, len(some)))


@pytest.mark.parametrize("keep", ["all", "one"])
def test_a_near_copy_of_a_test_row_stays_nowhere(keep):
    sides = (("12", "test"), ("13", ""), ("A1", "train"))
    some = [(base.format(value), "a", side) for base in BASES for value, side in sides]
    accepted, _ = curate(table_of(some, "classify"), config_of(keep, "classify"))
    assert {*accepted["given"]} == {"test"}
