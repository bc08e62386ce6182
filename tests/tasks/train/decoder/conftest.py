"""Rows to train models that write on."""

import pytest


@pytest.fixture(scope="module")
def reply_tables(make_replies):
    return make_replies(36), make_replies(12, seed=2)


@pytest.fixture(scope="module")
def general_examples(make_replies):
    """Of two files, in which nothing is said that a row says."""
    table = make_replies(40, seed=9).assign(
        label="The noise is the cable, thanks.", source=["sums.csv", "words.jsonl"] * 20
    )
    return table.assign(id=[f"{file}:{number}" for number, file in enumerate(table["source"])])
