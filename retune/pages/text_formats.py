"""How pages write times, numbers, parameters and text from outside."""

import json
from datetime import UTC, datetime
from typing import Any

# Characters that hide or reorder what stands beside them, and what no file of UTF-8 can hold.
CONTROLS = [*range(9), 11, 12, *range(14, 32), *range(127, 160)]
TURNING = [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]
HIDDEN = {code: f"\\u{code:04x}" for code in [*CONTROLS, *TURNING, *range(0xD800, 0xE000)]}


def visible(value: Any) -> Any:
    """Text with its hidden characters written out; anything else as it is."""
    return value.translate(HIDDEN) if type(value) is str else value


def in_words(moment: str) -> str:
    """24 November 2026, 10:14 UTC; text that is not a time stays as it is."""
    try:
        then = datetime.fromisoformat(moment)
        then = then.astimezone(UTC) if then.tzinfo else then
    except (ValueError, OverflowError):
        return moment
    return f"{then.day} {then:%B} {then.year}, {then:%H:%M}{' UTC' if then.tzinfo else ''}"


def count(number: float) -> str:
    return f"{number:,}"


def score(number: float) -> str:
    return f"{number:.4f}" if abs(number) < 1000 else f"{number:.4g}"


def percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def as_text(value: Any) -> str:
    """Params as people read them: YAML."""
    import yaml

    plain = json.loads(json.dumps(value))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100).strip()
