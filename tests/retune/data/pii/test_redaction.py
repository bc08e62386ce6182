import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.data import messages
from retune.data.pii.detection import find
from retune.data.pii.redaction import redact, redact_row, secret_of
from retune.errors import WrongUse
from tests.support.personal_data import PII

SECRET = "a secret of a test"
PIECES = st.sampled_from(
    [
        "ann@example.org",
        "call (202) 555-0127",
        "4111 1111 1111 1111",
        "DE89370400440532013000",
        "ssn 123-45-6789",
        "10.0.0.12",
        "password: hunter2",
        "https://bob:s3cret@example.com",
        "born on 12.05.1990",
        "1 Elm Road",
        "<EMAIL_3>",
        "2025550127",
        '{"a": 2}',
        '"',
        "\\",
        "\n",
        "order 7",
    ]
)
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=6).map(" ".join)
ACTIONS = st.sampled_from(["redact", "hash"]).map(lambda action: replace(PII, email=action, phone=action, card=action))


@settings(max_examples=60)
@given(TEXTS, ACTIONS)
def test_redacting_twice_changes_nothing_more(text, config):
    once, _ = redact(text, config, SECRET)
    assert redact(once, config, SECRET) == (once, {})


@settings(max_examples=60)
@given(st.lists(TEXTS, min_size=1, max_size=3), ACTIONS)
def test_no_value_that_was_recognised_is_left_in_the_row(texts, config):
    redacted = redact_row(texts, config, SECRET).texts
    for value in {span.value for text in texts for span in find(text, config)}:
        assert not [text for text in redacted if f" {value} " in f" {text} "]


JSON = st.recursive(
    st.one_of(TEXTS, st.integers(), st.sampled_from([2025550127, 4111111111111111]), st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)),
    max_leaves=5,
)


def shape(value):
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    return [*map(shape, value)] if isinstance(value, list) else ""


@settings(max_examples=60)
@given(JSON)
def test_json_stays_json_of_the_same_shape(value):
    redacted, _ = redact(json.dumps({"phone": value}), PII)
    assert shape(json.loads(redacted)) == shape({"phone": value})


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(messages.ROLES), TEXTS), min_size=1, max_size=3))
def test_messages_stay_messages_of_the_same_roles(turns):
    talk = [{"role": role, "content": content} for role, content in turns]
    after = messages.parse(redact(messages.dump(talk), PII)[0])
    assert [message["role"] for message in after] == [role for role, _ in turns]


def test_one_value_has_one_placeholder_in_the_whole_row():
    prompt = messages.dump([{"role": "user", "content": "I am ann@example.org, call +1 202-555-0127"}])
    redacted = redact_row([prompt, "Dear Ann@Example.org, or bob@example.org: +1 (202) 555 0127"], PII)
    assert messages.parse(redacted.texts[0])[0]["content"] == "I am <EMAIL_1>, call <PHONE_1>"
    assert redacted.texts[1] == "Dear <EMAIL_1>, or <EMAIL_2>: <PHONE_1>"
    assert redacted.counts == {"email": 3, "phone": 2}


def test_a_value_goes_also_where_nothing_says_what_it_is():
    assert redact("call 2025550127. Order 2025550127.", PII)[0] == "call <PHONE_1>. Order <PHONE_1>."


def test_the_arguments_of_a_call_are_redacted_and_its_names_stay():
    call = {"type": "function", "function": {"name": "ring_10", "arguments": {"phone": 2025550127, "n": 10}}}
    talk = messages.dump([{"role": "assistant", "content": "", "tool_calls": [call]}])
    after = messages.parse(redact(talk, PII)[0])[0]["tool_calls"][0]["function"]
    assert after == {"name": "ring_10", "arguments": {"phone": "<PHONE_1>", "n": 10}}


def test_a_new_placeholder_has_a_number_that_no_other_has():
    assert redact("<EMAIL_2> and ann@example.org", PII)[0] == "<EMAIL_2> and <EMAIL_3>"


def test_a_hash_is_the_same_in_every_row_and_another_for_another_secret():
    config = replace(PII, email="hash")
    one, other = (redact(text, config, SECRET)[0] for text in ("ann@example.org", "Write to ANN@example.org"))
    assert other == f"Write to {one}"
    assert redact("ann@example.org", config, SECRET * 2)[0] != one


def test_what_a_person_keeps_stays():
    config = replace(PII, keep=["Help@example.org"], ip="keep")
    text = "help@example.org, ann@example.org, 10.0.0.12"
    assert redact(text, config)[0] == "help@example.org, <EMAIL_1>, 10.0.0.12"


def test_a_row_says_which_types_it_must_be_dropped_for():
    config = replace(PII, card="drop")
    assert redact_row(["4111111111111111", "ann@example.org"], config).dropped(config) == ("card",)
    assert redact_row(["ann@example.org"], config).dropped(config) == ()


def test_a_hash_without_a_secret_is_refused_in_one_line(monkeypatch):
    assert secret_of(PII) is None
    config = replace(PII, email="hash")
    with pytest.raises(WrongUse, match=r"curate\.pii\.email is hash, and curate\.pii\.secret_env names no"):
        secret_of(config)
    monkeypatch.setenv("PII_SECRET", "short")
    config = replace(config, secret_env="PII_SECRET")
    with pytest.raises(WrongUse, match=r"PII_SECRET, which keys the hashes of curate\.pii, has 5 c") as refusal:
        secret_of(config)
    assert "short" not in str(refusal.value)
    monkeypatch.setenv("PII_SECRET", SECRET)
    assert secret_of(config) == SECRET
