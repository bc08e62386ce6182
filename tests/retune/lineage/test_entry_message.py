"""What is formatted is parsed as it was, and nothing else passes for an entry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.lineage.entry_message import CHAIN_FIELDS, EntryMessage, one_line

LINES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])).map(one_line)
NAMES = st.from_regex(r"[A-Z][A-Za-z-]{0,20}", fullmatch=True).filter(lambda name: name not in CHAIN_FIELDS)
MESSAGES = st.builds(
    EntryMessage,
    title=LINES.filter(bool),
    number=st.integers(1, 10**6),
    event=st.sampled_from(["registered", "champion", "approved", "rejected", "decided", "reviewed", "rollout"]),
    model=st.from_regex(r"[\w/-]*[\w-]", fullmatch=True),
    version=st.integers(0, 10**6),
    previous=st.sampled_from(["none", "a" * 64]),
    why=st.lists(LINES, max_size=4).map(tuple),
    facts=st.dictionaries(NAMES, LINES, max_size=4),
)


@given(MESSAGES)
def test_a_message_is_parsed_as_it_was_formatted(message):
    assert EntryMessage.parse(message.tag, message.format()) == message


@given(MESSAGES)
def test_a_signature_below_the_message_is_no_part_of_it(message):
    signed = message.format() + "-----BEGIN PGP SIGNATURE-----\n\nabc\n-----END PGP SIGNATURE-----\n"
    assert EntryMessage.parse(message.tag, signed) == message


@pytest.mark.parametrize(
    ("line", "other", "field"),
    [
        ("Entry: 5", "Entry: 6", "Entry"),
        ("Event: champion", "Event: approved", "Event"),
        ("Model: m/3", "Model: other/3", "Model"),
        ("Previous: none\n", "", "Previous"),
    ],
)
def test_a_field_that_disagrees_with_the_name_is_named(line, other, field):
    message = EntryMessage("m/3 became champion", 5, "champion", "m", 3, "none", ("better",), {"Seal": "s"})
    with pytest.raises(ValueError, match=f"disagree: {field}$"):
        EntryMessage.parse(message.tag, message.format().replace(line, other))
