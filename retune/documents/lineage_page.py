"""One version on one page, for people: the road from sources to champion, what was recomputed, how to check it alone.

The page is one file of HTML that asks no network and runs no script: its Content-Security-Policy forbids both, and
allows the one style sheet by its hash. Stations are `details`, so that a keyboard opens them. A hash gets a mark only
where a link of that hash was recomputed. Everything from the record is a stranger's: escaped, its hidden characters
shown, quoted where it stands in a command. Same inputs, same bytes.

Two files stand beside this one: lineage_page.html (the template) and lineage_page.css.
"""

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from retune.documents import sankey, verification_commands
from retune.lineage.check import Check
from retune.lineage.history import BY_HAND, CHAMPION, DECIDED, HOW, REGISTERED, REJECTED, REVIEWED, ROLLBACK, Entry
from retune.lineage.record import reasons_of

MODELS = (
    ("candidate", "this version"),
    ("champion", "champion before"),
    ("probe", "probe"),
    ("base", "untouched base"),
)
SIDES = (
    ("train", "Train: what the model learned from"),
    ("val", "Validation: what the best epoch was chosen on"),
    ("test", "Test: kept away until the end, to score on"),
)
STAGES = {  # of the road, in its order
    "sources": "Sources",
    "raw": "Raw",
    "curated": "Curated",
    "rejected": "Rejected",
    "validation": "Validated",
    "sides": "Sides",
    "base": "Base",
    "training": "Training",
    "evaluation": "Evaluation",
    "gate": "Gate",
    "registered": "Registered",
    "champion": "Champion",
}
MADE = {
    "training": ("models/candidate",),
    "evaluation": ("models/reports/evaluate.json", "models/reports/predictions.parquet"),
}
START = ("model_md5", "train_md5", "val_md5")  # recomputed, of the version that training continued from
# Characters that hide or reorder what stands beside them, and what no file of UTF-8 can hold.
CONTROLS = [*range(9), 11, 12, *range(14, 32), *range(127, 160)]
TURNING = [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]
HIDDEN = {code: f"\\u{code:04x}" for code in [*CONTROLS, *TURNING, *range(0xD800, 0xE000)]}


@dataclass(frozen=True)
class Bar:
    """One score, and where it stands on its axis, from 0 to 100."""

    model: str
    value: float
    low: float
    high: float
    n: int
    at: float
    left: float
    right: float
    zero: float


@dataclass(frozen=True)
class Chart:
    name: str
    start: float
    end: float
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Tenure:
    """A time in a role."""

    role: str
    start: str
    end: str  # empty: not ended by what this history holds
    lasted: str
    told: str


def page(
    record: dict[str, Any], version: str, links: Sequence[Check], entries: Sequence[Entry], checked: str | None = None
) -> str:
    """The page of NAME/VERSION, or of a version that has no number yet if `version` is empty.

    links: what was recomputed, none if nothing was; entries: the history of the model (retune/lineage/history.py);
    checked: when the links were recomputed, ISO 8601.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    here = Path(__file__).parent
    style = (here / "lineage_page.css").read_text("utf-8")
    own = Environment(
        loader=FileSystemLoader(here),
        autoescape=True,
        finalize=visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    own.filters |= {"time": in_words, "count": count, "score": score, "percent": percent, "yaml": as_text}
    number = version.rpartition("/")[2]
    history = sorted((entry for entry in entries if entry.event != DECIDED), key=lambda entry: entry.number)
    mine = [entry for entry in history if (entry.model, str(entry.version)) == (record["name"], number)]
    return own.get_template("lineage_page.html").render(
        r=record,
        start=record["training"].get("start", {"from": "base"}),
        name=record["name"],
        number=number,
        title=f"{record['name']}/{number}" if number else record["name"],
        style=Markup(style),
        style_sha256=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        links=links,
        failed=[link for link in links if not link.ok],
        checked=checked,
        seen=by_hash(links),
        marks=check_marks(record, links),
        entries=history,
        decisions=len(entries) - len(history),
        happened=happened,
        mine=mine,
        facts=dict.fromkeys(("Seal", "Signer", "Evidence"), "") | (mine[0].facts if mine else {}),
        terms=tenures(history, mine, checked),
        champion=any(entry.event == CHAMPION for entry in mine),
        rejected=[entry.event for entry in mine if entry.event != REVIEWED][-1:] == [REJECTED],
        charts=charts(record["scores"]),
        reasons=reasons_of(record["gate"]),
        gains=[gain_axis(rival) for rival in record["gate"]["rivals"]],
        labels=labels(record["data"]["sides"]),
        commands=verification_commands.commands(record, number, history, mine),
        picture=sankey.picture(record["data"]),
        road=sankey,
        stations=STAGES,
        sides=SIDES,
        cache=verification_commands.cache_path,
    )


# ---------------------------------------------------------------- words and numbers


def visible(value: Any) -> Any:
    """Text with its hidden characters written out; anything else as it is."""
    return value.translate(HIDDEN) if type(value) is str else value


def in_words(moment: str) -> str:
    """24 November 2026, 10:14 UTC; whatever is no time as it is."""
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


# ---------------------------------------------------------------- what was recomputed


def by_hash(links: Iterable[Check]) -> dict[str, bool]:
    """Expected value -> whether everything found of it was equal."""
    seen: dict[str, bool] = {}
    for link in links:
        seen[link.expected] = seen.get(link.expected, True) and link.ok
    return seen


def check_marks(record: dict[str, Any], links: Iterable[Check]) -> dict[str, bool | None]:
    """Station -> whether its recomputed hashes were equal; None where none was recomputed."""
    seen = by_hash(links)
    found = {station: [seen[each] for each in hashes if each in seen] for station, hashes in _hashes(record).items()}
    return {station: all(answers) if answers else None for station, answers in found.items()}


def _hashes(record: dict[str, Any]) -> dict[str, list[str]]:
    data, base, made = record["data"], record["base"], record["pipeline"]["hashes"]
    start, general = record["training"].get("start", {}), data.get("general")
    return {
        "sources": [],
        "raw": [data["raw"]["md5"]],
        "curated": [data["curated"]["md5"], data["suppressed"]["md5"]],
        "rejected": [data["rejected"]["md5"]],
        "validation": [data["validation"]["suite_sha256"], data["validation"]["report_md5"]],
        "sides": [side["md5"] for side in data["sides"].values()],
        "base": [base["sha256"], *base["files"].values()],
        "training": [
            *(start[each] for each in START if each in start),
            *([general["md5"], *(file["sha256"] for file in general["files"].values())] if general else []),
            record["environment"]["lock_sha256"],
            *record["code"]["modules"].values(),
            *(made[path] for path in MADE["training"] if path in made),
        ],
        "evaluation": [
            data["sides"]["test"]["md5"],
            *(made[path] for path in MADE["evaluation"] if path in made),
        ],
        "gate": [],
        "registered": [record["fingerprint"], record["pipeline"]["lock_md5"], *record["files"].values()],
        "champion": [],
    }


# ---------------------------------------------------------------- scores


def charts(scores: dict[str, Any]) -> list[Chart]:
    """One for each metric that the candidate has, in the order of the record."""
    found = []
    for name in scores["candidate"]:
        scored = [(title, scores[model][name]) for model, title in MODELS if name in (scores[model] or {})]
        start, end = axis([each[word] for _, each in scored for word in ("value", "low", "high")])
        found.append(Chart(name, start, end, tuple(_bar(title, each, start, end) for title, each in scored)))
    return found


def axis(values: list[float]) -> tuple[float, float]:
    """From zero to a round number at or above the highest; below zero only if a value is."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    return min(0.0, -_round_up(-min(finite))), max(_round_up(max(finite)), 0.0) or 1.0


def _round_up(value: float) -> float:
    """The next of 1, 2, 2.5, 5 and 10 times a power of ten; 0 for what is not above zero."""
    if value <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(value))
    return next((step * power for step in (1.0, 2.0, 2.5, 5.0) if value <= step * power * 1.000001), 10 * power)


def _bar(title: str, score: dict[str, Any], start: float, end: float) -> Bar:
    def place(value: float) -> float:
        return _place(value, start, end)

    value, low, high = score["value"], score["low"], score["high"]
    return Bar(title, value, low, high, score["n"], place(value), place(low), place(high), place(0.0))


def _place(value: float, start: float, end: float) -> float:
    share = (value - start) / (end - start) if math.isfinite(value) and end > start else 0.0
    return round(100 * min(max(share, 0.0), 1.0), 2)


def gain_axis(rival: dict[str, Any]) -> dict[str, float]:
    """Where gain, interval, margin and zero of one comparison stand on its axis, from 0 to 100."""
    words = ("gain", "low", "high", "margin")
    start, end = axis([rival[word] for word in words])
    return {"start": start, "end": end, "zero": _place(0.0, start, end)} | {
        word: _place(rival[word], start, end) for word in words
    }


def labels(sides: dict[str, Any]) -> list[tuple[str, list[int]]]:
    """(label, rows a side) of every label, the largest in training first."""
    names = {label for side in sides.values() for label in side["labels"]}
    rows = [(label, [sides[side]["labels"].get(label, 0) for side, _ in SIDES]) for label in names]
    return sorted(rows, key=lambda row: ([-each for each in row[1]], row[0]))


# ---------------------------------------------------------------- history


def happened(entry: Entry) -> str:
    """What an entry says of its version."""
    if entry.event != CHAMPION:
        return "was registered" if entry.event == REGISTERED else f"was {entry.event}"
    how = {ROLLBACK: " again, by a rollback", BY_HAND: ", by hand"}
    return f"became champion{how.get(entry.facts.get(HOW, ''), '')}"


def tenures(entries: Sequence[Entry], mine: Sequence[Entry], checked: str | None) -> list[Tenure]:
    """The roles of the version whose entries are `mine`, each up to the entry that ended it. All in their order."""
    found = []
    for entry in (entry for entry in mine if entry.event in (REGISTERED, CHAMPION)):
        later = [other for other in entries if other.number > entry.number and other.model == entry.model]
        if entry.event == CHAMPION:
            others = (other for other in later if other.event == CHAMPION and other.version != entry.version)
            ended = next(others, None)
            told = f"until {ended.model}/{ended.version} took its place" if ended else "no entry ends it"
        else:
            own = (other for other in later if other.event in (CHAMPION, REJECTED) and other.version == entry.version)
            ended = next(own, None)
            told = f"until it {happened(ended)}" if ended else "no entry ends it"
        end = ended.at if ended else ""
        found.append(Tenure(entry.event, entry.at, end, lasted(entry.at, end or checked or ""), told))
    return found


def lasted(start: str, end: str) -> str:
    """The time between two moments in words; empty where it cannot be told."""
    try:
        seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    except (ValueError, TypeError):
        return ""
    if seconds < 0:
        return ""
    for name, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {name}"
    return f"{seconds:.0f} seconds"
