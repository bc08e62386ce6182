"""The facts of an entry are parsed as they were formatted, and an entry without one of them can be read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.errors import Refused
from retune.lineage.entry_facts import End, Fact, RetrainingFacts, md5_fact
from retune.lineage.entry_message import CHAIN_FIELDS, EntryMessage, is_fact_name, one_line
from retune.lineage.history import Entry

LINES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])).map(one_line)
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | LINES | st.lists(LINES, max_size=3)
RETRAININGS = st.builds(
    RetrainingFacts,
    outcome=st.sampled_from(End),
    version=st.none() | st.from_regex(r"[A-Za-z0-9_-]+/[1-9][0-9]*", fullmatch=True),
    run=LINES,
    inputs=st.dictionaries(LINES, VALUES, max_size=4),
    thresholds=st.dictionaries(LINES, VALUES, max_size=4),
    failures=st.dictionaries(LINES, LINES, max_size=3),
)


def entry_with(**facts):
    return Entry(1, "m#decided#1", "decided", "m", 3, "now", "me", (), facts, "none", "5" * 64, "c" * 40)


@given(RETRAININGS)
def test_a_retraining_is_parsed_as_it_was_formatted(facts):
    assert RetrainingFacts.parse(facts.format()) == facts


@given(RETRAININGS)
def test_a_retraining_comes_through_the_message_of_its_tag(facts):
    message = EntryMessage("m had no champion", 1, "decided", "m", 0, "none", (), facts.format())
    assert RetrainingFacts.parse(EntryMessage.parse(message.tag, message.format()).facts) == facts


def test_a_decision_with_nothing_but_its_word_can_be_read():
    facts = entry_with(Decision="held", About="no version").retraining
    assert (facts.outcome, facts.version, facts.request, facts.failures) == (End.HELD, None, None, {})


def test_an_entry_about_a_version_is_not_about_a_retraining():
    entry = entry_with(Seal="5a")
    assert (entry.retraining, entry.seal, entry.evidence, entry.version_name) == (None, "5a", None, "m/3")


def test_an_outcome_that_this_version_does_not_know_is_named():
    with pytest.raises(Refused, match="Not an outcome of a retraining: 'postponed'"):
        entry_with(Decision="postponed").retraining.outcome  # noqa: B018


def test_every_fact_can_be_stored_and_says_what_it_is():
    assert all(is_fact_name(fact) and fact.about for fact in Fact)
    assert not {*Fact} & {*CHAIN_FIELDS}


def test_the_md5_of_each_part_of_the_data_has_its_fact():
    parts = ("raw", "train", "val", "test", "general")
    assert [md5_fact(part) for part in parts] == ["Raw", "Train", "Val", "Test", "General"]
