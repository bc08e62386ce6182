import pytest

from retune.errors import Broken, Refused, WrongUse
from retune.serving import api_keys


@pytest.fixture(autouse=True)
def key_file(tmp_path, monkeypatch):
    monkeypatch.setattr(api_keys.backend, "state", lambda: tmp_path)
    return tmp_path / "api-keys.json"


def test_a_key_is_stored_as_its_hash_in_a_private_file(key_file):
    key = api_keys.create("desk", ["predict", "predict", "feedback"])
    assert key not in key_file.read_text("utf-8") and key.removeprefix("retune_") not in key_file.read_text("utf-8")
    assert key_file.stat().st_mode & 0o777 == 0o600
    (entry,) = api_keys.read(key_file)
    assert (entry.name, entry.scopes) == ("desk", ("predict", "feedback"))
    assert [entry.allows(scope) for scope in api_keys.SCOPES] == [True, True, False]


@pytest.mark.parametrize("name", ["", "  ", "a\nb"])
def test_a_key_without_a_name_that_people_can_read_is_refused(name):
    with pytest.raises(WrongUse, match="needs a name"):
        api_keys.create(name, ["predict"])


def test_admin_may_do_all():
    api_keys.create("boss", ["admin"])
    assert all(api_keys.read(api_keys.path())[0].allows(scope) for scope in api_keys.SCOPES)


def test_a_server_sees_keys_that_are_created_and_revoked_while_it_runs(key_file):
    ring = api_keys.KeyRing(key_file)
    assert len(ring) == 0
    key = api_keys.create("desk", ["predict"])
    assert len(ring) == 1 and ring.find(key).name == "desk"
    assert ring.find(key[:-1]) is None and ring.find("") is None and ring.find("ä\udc80") is None
    api_keys.revoke("desk")
    assert ring.find(key) is None


def test_a_name_is_taken_once_and_only_a_key_that_is_there_is_revoked():
    api_keys.create("desk", ["predict"])
    with pytest.raises(Refused, match="there is an API key 'desk'"):
        api_keys.create("desk", ["admin"])
    with pytest.raises(Refused, match="no API key 'shop': those there are: desk"):
        api_keys.revoke("shop")


@pytest.mark.parametrize("text", ["{", "[1]", '[{"name": "a"}]', '[{"name": "a", "scopes": ["predict"], "x": 1}]'])
def test_a_damaged_file_is_told_and_lets_nobody_in(key_file, text):
    key = api_keys.create("desk", ["predict"])
    ring = api_keys.KeyRing(key_file)
    key_file.write_text(text)
    with pytest.raises(Broken, match="is damaged"):
        api_keys.read(key_file)
    assert ring.find(key) is None
