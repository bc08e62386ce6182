from dataclasses import replace

import pytest

from retune.errors import WrongUse
from retune.serving import kept_text
from tests.support.personal_data import PII


def test_two_spellings_of_a_text_have_one_key_and_another_secret_another():
    one, other = kept_text.keys(["Where is it?", "where  is it"], b"secret")
    assert one == other != kept_text.keys(["where is it"], b"another")[0]


def test_a_subject_has_no_key_of_a_text_and_nobody_has_none():
    assert kept_text.subject_hash("ann", b"secret") != kept_text.keys(["ann"], b"secret")[0][:32]
    assert kept_text.subject_hash("", b"secret") is None


def test_hashes_without_a_secret_are_refused_before_anything_is_served(monkeypatch):
    with pytest.raises(WrongUse, match="secret_env"):
        kept_text.text_policy("redacted", replace(PII, email="hash"))
    assert kept_text.text_policy("none", replace(PII, email="hash")).text("a") is None
