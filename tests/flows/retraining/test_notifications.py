"""What is to be told, also where params.yaml is wrong."""

import pytest

from flows.retraining import notifications
from retune.config.common import Notify
from tasks import notify
from tests.support.environment import ROOT

SHIPPED = (ROOT / "params.yaml").read_text("utf-8")
ONLY = SHIPPED.replace("[promoted, held, refused, failed, recovered, unhealthy, awaiting, rolled_back]", "[unhealthy]")


@pytest.fixture
def load_channels(tmp_path):
    def load(text):
        (tmp_path / "params.yaml").write_text(text, "utf-8")
        return notifications.load_config(tmp_path / "params.yaml")

    return load


def test_what_params_yaml_wants_is_told(load_channels):
    section, wrong = load_channels(ONLY)
    assert (section.events, wrong) == (["unhealthy"], "")


def test_a_fault_beside_the_section_changes_nothing_of_what_is_told_and_is_said(load_channels):
    assert "margin_over_base: 0" in ONLY
    section, wrong = load_channels(ONLY.replace("margin_over_base: ", "margin_over_base: -"))
    assert section.events == ["unhealthy"] and "promote.margin_over_base is -0" in wrong


@pytest.mark.parametrize(
    "text", ["", "notify: {}", "notify: {2026-11-22: x}", "task: [", ONLY.replace("[unhealthy]", "[tea]")]
)
def test_where_the_section_cannot_be_read_everything_is_told(load_channels, text):
    section, wrong = load_channels(text)
    assert section == notifications.EVERYTHING and "unhealthy" in section.events and "params.yaml" in wrong


def test_and_where_there_is_no_file(tmp_path):
    section, wrong = notifications.load_config(tmp_path / "params.yaml")
    assert section == notifications.EVERYTHING and "run this in the folder" in wrong


def test_it_is_told_once_any_channel_took_it_or_nobody_wants_it_and_not_where_there_is_none(webhook, monkeypatch):
    port, messages_taken = webhook
    section = Notify(["failed"], 5.0)
    monkeypatch.delenv(notifications.VARIABLE, raising=False)
    away, well = f"json://127.0.0.1:{port}/no/", f"json://127.0.0.1:{port}"
    for addresses, is_delivered in (("", False), (away, False), (f"{away} {well}", True), (well, True)):
        monkeypatch.setenv(notify.VARIABLE, addresses)
        assert notifications.notify_people("failed", "t", addresses, section) is is_delivered, addresses
        assert notifications.notify_people("held", "t", "nobody wants it", section)
    assert [notification["message"] for notification in messages_taken] == [f"{away} {well}", well]
