import json

import pytest
from click.testing import CliRunner

from flows.cli import serving
from retune.errors import Refused
from retune.serving import api_keys


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.setattr(serving.environment, "activate_project", lambda: None)
    monkeypatch.setattr(api_keys.backend, "state", lambda: tmp_path)
    return lambda *words: CliRunner().invoke(serving.api_keys, words)


def test_a_key_is_shown_once_and_listed_by_name(call):
    created = call("create", "desk", "--scope", "predict", "--scope", "feedback")
    key = created.stdout.strip()
    assert key.startswith("retune_") and "shown this once" in created.stderr
    listed = call("list")
    assert "desk" in listed.stdout and "predict feedback" in listed.stdout and key not in listed.output
    assert json.loads(call("list", "--json").stdout)[0]["scopes"] == ["predict", "feedback"]
    assert len(json.loads(call("create", "b", "--scope", "admin", "--json").stdout)["key"]) > 40


def test_a_revoked_key_is_gone(call):
    call("create", "desk", "--scope", "predict")
    assert call("revoke", "desk").stdout == "revoked the API key desk\n"
    assert isinstance(call("list").exception, Refused)
    assert isinstance(call("revoke", "desk").exception, Refused)


@pytest.mark.parametrize("words", [("create", "a"), ("create", "a", "--scope", "all"), ("create",), ("revoke",)])
def test_a_key_needs_a_name_and_a_scope_that_there_is(call, words):
    assert call(*words).exit_code == 2


def test_the_scopes_of_the_command_are_those_that_there_are():
    assert serving.SCOPES == api_keys.SCOPES
