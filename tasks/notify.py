"""Tell people what happened, through whatever Apprise knows: mail, chat, pagers, webhooks.

    export RETUNE_NOTIFY_URLS='slack://... mailto://...'       # addresses, separated by blanks
    retune notify test "a test"

Addresses hold secrets: they come from the environment alone, and nothing of them reaches a log or an answer; a channel
is called by its place and kind. One that is away delays nobody for longer than `notify.timeout_seconds` and breaks
nothing: the log says so, and the answer is no.
"""

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import unquote

from retune.config.types import Event

VARIABLE = "RETUNE_NOTIFY_URLS"
LOG = logging.getLogger("retune.notify")
NOISY_LOGGERS = ("apprise", "httpx", "urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry")
TROUBLE = ("refused", "failed", "unhealthy")
LOOKS = {  # of a message, in Apprise's four kinds
    "promoted": "success",
    "recovered": "success",
    "held": "info",
    "awaiting": "warning",
    "refused": "warning",
    "failed": "failure",
    "unhealthy": "failure",
    "rolled_back": "failure",
}

Send = Callable[[], str]  # sends, and says what went wrong; nothing is well


@dataclass(frozen=True)
class Delivery:
    """What became of a message on one channel."""

    channel: str  # its place and kind, never its address
    ok: bool
    why: str = ""


def events_after(before: str | None, now: str) -> tuple[Event, ...]:
    """The events to send when one outcome follows another; the first outcome after trouble is sent as recovered too.

    An outcome need not be an event: `nothing to do` is sent to nobody, but it ends trouble.
    """
    events: list[Any] = ["recovered"] if before in TROUBLE and now not in TROUBLE else []
    return (*events, *([now] if now in LOOKS and now not in events else []))


def send(title: str, body: str, seconds: float, look: str = "info") -> list[Delivery]:
    """Send to every address of the environment, to all at the same time, for no longer than `seconds`."""
    addresses = os.environ.get(VARIABLE, "").split()
    return at_once(
        {_name(place, each): _sender(each, title, body, look) for place, each in enumerate(addresses, 1)}, seconds
    )


def log_failures(deliveries: Sequence[Delivery]) -> None:
    """Warn in the log of each channel that did not take the message."""
    for delivery in deliveries:
        if not delivery.ok:
            LOG.warning("%s did not take the message: %s", delivery.channel, delivery.why)


def at_once(channels: Mapping[str, Send], seconds: float) -> list[Delivery]:
    """Each in a thread of its own, for which nobody waits after `seconds`: not even the end of the process."""
    results: dict[str, str] = {}

    def attempt(name: str, act: Send) -> None:
        try:
            results[name] = act()
        except Exception as error:  # of any plugin; its words may hold the address, the name of its class does not
            results[name] = f"it raised {type(error).__name__}"

    # A thread does not inherit the context, in which Prefect keeps which server a flow talks to.
    threads = [
        threading.Thread(target=copy_context().run, args=(attempt, *channel), daemon=True)
        for channel in channels.items()
    ]
    for thread in threads:
        thread.start()
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    late = f"no answer within {seconds:g} s"
    return [Delivery(name, results.get(name, late) == "", results.get(name, late)) for name in channels]


def _name(place: int, address: str) -> str:
    scheme, separator, _ = address.partition("://")
    return f"channel {place} ({scheme if separator and re.fullmatch(r'[A-Za-z][A-Za-z0-9+-]{0,20}', scheme) else '?'})"


def _sender(address: str, title: str, body: str, look: str) -> Send:
    def act() -> str:
        import apprise

        with CapturedLogs() as logs:
            channel = apprise.Apprise(asset=apprise.AppriseAsset(app_id="Retune", app_desc="Retune", app_url=""))
            if not channel.add(address):
                return f"no address that Apprise knows: see how its kind is written, and mend {VARIABLE}"
            delivered = channel.notify(body, title, apprise.NotifyType(look), body_format=apprise.NotifyFormat.TEXT)
        return "" if delivered else _without(address, logs.last_line or "Apprise could not deliver it")

    return act


def _without(address: str, words: str) -> str:
    """`words` with nothing in it that stands in the address."""
    pieces = {piece for form in (address, unquote(address)) for piece in re.findall(r"[^/:@?&=,;#\s]{3,}", form)}
    for piece in sorted(pieces, key=len, reverse=True):
        words = words.replace(piece, "***")
    return words


class CapturedLogs(logging.Filter):
    """While it is open: hears what the libraries below say in this thread, and lets nothing of it through to a log."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.get_ident()
        self.last_line = ""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.thread != self.thread:
            return True
        if record.levelno >= logging.WARNING:
            self.last_line = record.getMessage()
        return False

    def __enter__(self) -> Self:
        for name in NOISY_LOGGERS:
            logging.getLogger(name).addFilter(self)
        return self

    def __exit__(self, *_: object) -> None:
        for name in NOISY_LOGGERS:
            logging.getLogger(name).removeFilter(self)
