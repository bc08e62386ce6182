"""Notify people through Apprise's addresses and Prefect's notification blocks, all at once and in bounded time.

    export RETUNE_NOTIFY_BLOCKS='slack-webhook/team-channel custom-webhook/pager'    # saved on the Prefect server

Like the addresses, the blocks hold secrets, which stay on the server: only their names are ever shown.
"""

import os
from pathlib import Path
from typing import Any, get_args

from retune.config import params
from retune.config.common import Notify
from retune.config.types import Event
from retune.errors import RetuneError
from retune.lineage import history
from tasks import notify

VARIABLE = "RETUNE_NOTIFY_BLOCKS"
NO_CHANNEL = f"neither {notify.VARIABLE} nor {VARIABLE} names a channel"
EVERYTHING = Notify(list(get_args(Event)), 20.0)  # where params.yaml cannot say what to send


def load_config(path: Path = Path("params.yaml")) -> tuple[Notify, str]:
    """The section `notify` of params.yaml, and in words what is wrong with that file, if anything is.

    A wrong file stops every retraining, and people must hear of it: so a valid section `notify` alone is enough.
    """
    try:
        return params.load(path).notify, ""
    except (RetuneError, OSError) as error:
        return _notify_alone(path), str(error)


def _notify_alone(path: Path) -> Notify:
    try:
        return params.load_notify(path)
    except (RetuneError, OSError):
        return EVERYTHING


def notify_people(event: Event, title: str, body: str, section: Notify) -> bool:
    """Send a message. Whether any channel took it, or params switch the event off. Never raises, never hangs."""
    if event not in section.events:
        return True
    deliveries = send(title, body, section.timeout_seconds, notify.LOOKS[event])
    notify.log_failures(deliveries)
    return any(delivery.ok for delivery in deliveries)


def has_channel() -> bool:
    """Whether the environment of this process names a channel."""
    return any(os.environ.get(variable, "").split() for variable in (notify.VARIABLE, VARIABLE))


def notify_manual_promotion(entry: history.Entry, section: Notify) -> bool:
    """Say that a person made another champion, or rejected a version that waited: who, which, why."""
    event: Event = "promoted" if entry.event == history.CHAMPION else "held"
    version, how = entry.version_name, entry.how
    words = {history.PROMOTED: "champion, approved by", history.ROLLBACK: "champion again, by a rollback of"}
    now = words.get(how or "", "champion, chosen by") if event == "promoted" else "no champion, rejected by"
    body = [f"{version} is {now} {entry.by}:", *entry.why]
    if event == "promoted":
        body.append(
            f"`retune rollback {entry.model} --reason TEXT` goes back to the champion before, if there was one."
        )
    return notify_people(event, f"{version}: {event}", "\n".join(body), section)


def send(title: str, body: str, seconds: float, look: str = "info") -> list[notify.Delivery]:
    """The addresses first, then the blocks."""
    blocks = {f"block {name}": _sender(name, title, body) for name in os.environ.get(VARIABLE, "").split()}
    return [*notify.send(title, body, seconds, look), *notify.at_once(blocks, seconds)]


def _sender(name: str, title: str, body: str) -> notify.Send:
    def act() -> str:
        from prefect.blocks import notifications  # noqa: F401  (its blocks are known once it is imported)
        from prefect.blocks.abstract import NotificationBlock
        from prefect.blocks.core import Block

        with notify.CapturedLogs():
            try:
                block: Any = Block.load(name)
            except ValueError:
                return f"the Prefect server has no such block: `prefect block ls` shows them; {VARIABLE} is KIND/NAME"
            if not isinstance(block, NotificationBlock):
                return f"a {type(block).__name__} sends no notifications"
            with block.raise_on_failure():
                sending: Any = block.notify
                sending(body, title)
        return ""

    return act
