import base64
import hashlib

import pytest

from tests.support.personal_data import values

NOISE = base64.b64encode(hashlib.sha512(b"noise").digest()).decode().replace("+", "x").replace("/", "y")
HEX = hashlib.sha512(b"noise").hexdigest()
KEYS = [  # put together here, so that no search for secrets takes them for some
    "AKIA" + "IOSFODNN7EXAMPLE",
    "ghp" + "_" + NOISE[:36],
    "glpat" + "-" + NOISE[:20],
    "xoxb" + "-1234567890-" + NOISE[:12],
    "sk" + "_live_" + NOISE[:24],
    "AIza" + NOISE[:35],
    "sk" + "-" + NOISE[:32],
    "hf" + "_" + NOISE[:34],
    "npm" + "_" + NOISE[:36],
    "SG" + "." + NOISE[:22] + "." + NOISE[:43],
    "AC" + HEX[:32],
    "shpat" + "_" + HEX[:32],
    "12345678" + ":AA" + NOISE[:33],
    "eyJ" + NOISE[:20] + "." + NOISE[:40] + "." + NOISE[:43],
]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_recognised_by_the_shape_of_its_provider(key):
    assert values(f"I use {key}, and 1") == [("secret", key)]


def test_a_password_is_recognised_by_the_word_before_it():
    assert values("password: hunter2!") == [("secret", "hunter2")]
    assert values("api_key=abc-12345") == [("secret", "abc-12345")]
    assert values("my password is Sommer2024") == [("secret", "Sommer2024")]
    assert values("Bearer abc123def456") == [("secret", "abc123def456")]
    for text in ("my password is wrong, 2 times", "password reset 12345678", "token: missing 1"):
        assert values(text) == []


def test_a_private_key_is_recognised_whole_and_to_the_end_if_its_own_is_missing():
    begin, end = "-----BEGIN RSA " + "PRIVATE KEY-----", "-----END RSA " + "PRIVATE KEY-----"
    assert values(f"a {begin}\nMII1\n{end} b") == [("secret", f"{begin}\nMII1\n{end}")]
    assert values(f"a {begin}\nMII1") == [("secret", f"{begin}\nMII1")]


def test_an_unknown_key_is_recognised_by_its_entropy_and_a_hash_or_a_name_is_none():
    assert values(f"use {NOISE[:40]} now") == [("secret", NOISE[:40])]
    for text in (HEX[:40], "550e8400-e29b-41d4-a716-446655440000", "getUserByIdFromTheDatabaseV2", "A" * 30 + "a111"):
        assert values(f"see {text}") == []
