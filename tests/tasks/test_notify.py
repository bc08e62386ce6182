"""Who is told what, through a real server on loopback; and that no address is ever shown."""

import logging
import socket
import time
from pathlib import Path
from typing import get_args

import pytest
import yaml

from retune.config import params
from retune.config.types import Event
from tasks import notify

ALL = get_args(Event)
SECRET = "s3cr3t-T0ken"


@pytest.fixture
def set_channels(monkeypatch):
    return lambda *addresses: monkeypatch.setenv(notify.VARIABLE, " ".join(addresses))


def reaches_all(event, title="t", body="b", seconds=30.0):
    """Sends it, and has the log say what went wrong. Whether every channel took it."""
    deliveries = notify.send(title, body, seconds, notify.LOOKS[event])
    notify.log_failures(deliveries)
    return all(delivery.ok for delivery in deliveries)


def test_everyone_is_told_what_happened(webhook, set_channels):
    port, notifications = webhook
    set_channels(f"json://127.0.0.1:{port}/a/{SECRET}", f"json://127.0.0.1:{port}/b")
    assert reaches_all("held", "classifier: held", "the gain is 0.001\n- not enough")
    assert [
        (notification["title"], notification["message"], notification["type"]) for notification in notifications
    ] == [("classifier: held", "the gain is 0.001\n- not enough", "info")] * 2
    assert reaches_all("failed")
    assert notifications[-1]["type"] == "failure"


def test_without_an_address_nothing_happens_quietly(monkeypatch, caplog):
    monkeypatch.delenv(notify.VARIABLE, raising=False)
    assert reaches_all("failed")
    assert caplog.records == []


def test_a_channel_that_is_away_or_no_address_breaks_nothing_and_is_named_by_its_place(webhook, set_channels, caplog):
    port, notifications = webhook
    set_channels(f"json://127.0.0.1:9/{SECRET}", f"nosuch://{SECRET}", SECRET, f"json://127.0.0.1:{port}/no/{SECRET}")
    with caplog.at_level(logging.DEBUG):
        assert reaches_all("failed") is False
    lines = [record.getMessage() for record in caplog.records if record.name == "retune.notify"]
    assert [line.partition(" did")[0] for line in lines] == [
        "channel 1 (json)",
        "channel 2 (nosuch)",
        "channel 3 (?)",
        "channel 4 (json)",
    ]
    assert "no address that Apprise knows" in lines[1]
    assert "403" in lines[3]
    assert notifications == []


def test_no_part_of_an_address_reaches_a_log_however_talkative_it_is(webhook, set_channels, caplog):
    port, _ = webhook
    mail = f"mailto://user:{SECRET}@127.0.0.1:9?to=ops@example.com"
    set_channels(f"json://u:{SECRET}@127.0.0.1:{port}/{SECRET}?+X-Token={SECRET}", f"json://127.0.0.1:9/{SECRET}", mail)
    with caplog.at_level(logging.DEBUG):
        for name in ("", "apprise", "urllib3"):
            logging.getLogger(name).setLevel(logging.DEBUG)
        try:
            reaches_all("failed")
        finally:
            for name in ("apprise", "urllib3"):
                logging.getLogger(name).setLevel(logging.NOTSET)
    assert len(caplog.records) >= 2
    assert SECRET not in caplog.text
    assert "ops@example.com" not in caplog.text


def test_a_channel_that_hangs_delays_nobody_for_long_and_the_others_get_it(webhook, set_channels, caplog):
    port, notifications = webhook
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and says nothing
        set_channels(
            f"json://127.0.0.1:{silent.getsockname()[1]}/?rto=60",
            f"json://127.0.0.1:{port}/slow/?rto=60",
            f"json://127.0.0.1:{port}",
        )
        start = time.monotonic()
        assert reaches_all("unhealthy", seconds=1.0) is False
        assert time.monotonic() - start < 2.5
    assert len(notifications) == 1
    assert sum("no answer within 1 s" in record.getMessage() for record in caplog.records) == 2


def test_every_event_of_params_has_a_look():
    shipped = Path(__file__).resolve().parents[2] / "params.yaml"
    assert set(params.load(shipped).notify.events) == set(notify.LOOKS) == set(ALL)
    values = yaml.safe_load(shipped.read_text("utf-8"))
    values["notify"]["events"] = ["held", "hold"]
    with pytest.raises(params.WrongUse, match=r"notify\.events\.1 is 'hold'"):
        params.parse(values)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (None, "promoted", ("promoted",)),
        ("failed", "promoted", ("recovered", "promoted")),
        ("refused", "held", ("recovered", "held")),
        ("unhealthy", "nothing", ("recovered",)),
        ("failed", "failed", ("failed",)),
        ("failed", "refused", ("refused",)),
        ("promoted", "nothing", ()),
        ("failed", "recovered", ("recovered",)),
        (None, "nothing", ()),
    ],
)
def test_after_trouble_the_first_outcome_that_is_none_is_told_as_recovered(before, now, expected):
    assert notify.events_after(before, now) == expected
