"""The page of a rollout: where it is, and both versions beside each other."""

from pathlib import Path
from typing import Any

from retune.pages import page

TEMPLATE = Path(__file__).with_name("rollout_page.html")


def render(facts: dict[str, Any]) -> str:
    """facts: what `retune rollout status --json` prints."""
    return page.render(TEMPLATE, r=facts)
