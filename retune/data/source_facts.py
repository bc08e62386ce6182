"""Where the raw rows come from: licence and collection window of each source, as stated when it was ingested.

`data/raw/sources.json` holds them, inside the folder that DVC tracks, so that one hash covers rows and facts. The file
holds no time of day: the same ingests give the same file.

    {"tickets": {"collected": "2026-01-01/2026-03-31", "licence": "Apache-2.0"}}
"""

import json
import re
from calendar import monthrange
from contextlib import suppress
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq

from retune.errors import Broken, WrongUse
from retune.system.stage_io import write_json

FILE = "sources.json"
FACTS = ("licence", "collected")
NOT_STATED = "not stated"
WINDOW = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?")
MEND = "Run `dvc checkout` to restore it"

Stated = dict[str, dict[str, str]]


def sources(raw: Path) -> Stated:
    """Licence and window of every source with rows in `raw` or with stated facts; `not stated` for the others."""
    stated = read(raw)
    return {
        name: {fact: stated.get(name, {}).get(fact, NOT_STATED) for fact in FACTS}
        for name in sorted({*stated, *_source_names(raw)})
    }


def _source_names(raw: Path) -> set[str]:
    parts = [pq.read_table(part, columns=["source"]).column("source") for part in sorted(raw.glob("*.parquet"))]
    return {name or "" for part in parts for name in part.unique().to_pylist()}


def read(raw: Path) -> Stated:
    """The stated facts by source. Raises Broken if the file holds anything else."""
    path = raw / FILE
    try:
        stated: Stated = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise Broken(f"{path} cannot be read: {error}. {MEND}") from None
    if not _is_stated(stated):
        raise Broken(f"{path} must hold {' and '.join(FACTS)} of each source and nothing else. {MEND}")
    return stated


def _is_stated(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(facts, dict) and set(facts) <= set(FACTS) and all(isinstance(word, str) for word in facts.values())
        for facts in value.values()
    )


def write(stated: Stated, raw: Path) -> None:
    write_json({name: dict(sorted(facts.items())) for name, facts in sorted(stated.items())}, raw / FILE)


def facts(licence: str | None, collected: str | None) -> dict[str, str]:
    """The facts that a user states, checked; empty if there are none. Raises WrongUse."""
    options = {"licence": licence, "collected": collected}
    facts = {fact: " ".join(word.split()) for fact, word in options.items() if word is not None}
    for fact, word in facts.items():
        if not word:
            raise WrongUse(f"the {fact} is empty: state it, or leave --{fact} out")
    if "collected" in facts:
        check_window(facts["collected"])
    return facts


def check_window(window: str) -> None:
    """Raises WrongUse unless `window` is a day, a month, a year, or two of these with a slash between."""
    first, slash, last = window.partition("/")
    begin, end = _span(first, window), _span(last if slash else first, window)
    if begin[0] > end[0] or begin[1] > end[1]:
        raise WrongUse(f"the window {window!r} ends before it begins: write the earlier date first")


def _span(word: str, window: str) -> tuple[date, date]:
    """First and last day of a day, a month or a year."""
    if match := WINDOW.fullmatch(word):
        year, month, day = match.groups()
        with suppress(ValueError):  # not a day of the calendar
            first = date(int(year), int(month or 1), int(day or 1))
            last = date(int(year), int(month or 12), 1)
            return first, last.replace(day=int(day or monthrange(last.year, last.month)[1]))
    raise WrongUse(
        f"the window {window!r} is not a period: write a day (2026-03-31), a month (2026-03), a year (2026),"
        " or two of these with a slash between (2026-01-01/2026-03-31)"
    )
