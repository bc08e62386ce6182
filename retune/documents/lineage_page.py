"""The lineage of a version on one page: the stages from sources to champion, the recomputed hashes, how to check them.

Stages are `details`, so that a keyboard opens them. A hash gets a check mark only if a check recomputed it.
Text from the record is quoted where it is part of a command; `retune/pages` escapes it.
"""

from collections.abc import Sequence
from pathlib import Path

from retune.documents import sankey, verification_commands
from retune.documents.check_marks import by_hash, check_marks
from retune.documents.record_facts import with_unreadable
from retune.documents.score_charts import charts, gain_axis
from retune.documents.tenures import happened, tenures
from retune.lineage.check import Check
from retune.lineage.history import CHAMPION, DECIDED, REJECTED, REVIEWED, ROLLOUT, Entry
from retune.lineage.record import Record, Split, reasons_of
from retune.pages.page import render

TEMPLATE = Path(__file__).with_suffix(".html")
SIDES = (
    ("train", "Train: what the model learned from"),
    ("val", "Validation: what the best epoch was chosen on"),
    ("test", "Test: used only to score, at the end"),
)
STAGES = {  # in order
    "sources": "Sources",
    "raw": "Raw",
    "curated": "Curated",
    "rejected": "Rejected",
    "validation": "Validated",
    "splits": "Splits",
    "base": "Base",
    "training": "Training",
    "evaluation": "Evaluation",
    "gate": "Gate",
    "registered": "Registered",
    "champion": "Champion",
}


def page(
    record: Record, version: str, links: Sequence[Check], entries: Sequence[Entry], checked: str | None = None
) -> str:
    """The page of NAME/VERSION, or of a version that has no number yet if `version` is empty.

    links: the recomputed checks, if any; entries: the history of the model (retune/lineage/history.py);
    checked: when the links were recomputed, ISO 8601.
    """
    number = version.rpartition("/")[2]
    history = sorted((entry for entry in entries if entry.event != DECIDED), key=lambda entry: entry.number)
    mine = [entry for entry in history if (entry.model, str(entry.version)) == (record["name"], number)]
    registration, data = mine[0] if mine else None, with_unreadable(record["data"])
    return render(
        TEMPLATE,
        r=record,
        data=data,
        start=record["training"].get("start", {"from": "base"}),
        name=record["name"],
        number=number,
        title=f"{record['name']}/{number}" if number else record["name"],
        links=links,
        failed=[link for link in links if not link.ok],
        checked=checked,
        seen=by_hash(links),
        marks=check_marks(record, links),
        entries=history,
        decisions=len(entries) - len(history),
        happened=happened,
        mine=mine,
        seal=registration and registration.seal,
        signer=registration and registration.signer,
        evidence=registration and registration.evidence,
        terms=tenures(history, mine, checked),
        champion=any(entry.event == CHAMPION for entry in mine),
        rejected=[entry.event for entry in mine if entry.event not in (REVIEWED, ROLLOUT)][-1:] == [REJECTED],
        charts=charts(record["scores"]),
        reasons=reasons_of(record["gate"]),
        gains=[gain_axis(rival) for rival in record["gate"]["rivals"]],
        labels=labels(record["data"]["sides"]),
        commands=verification_commands.commands(record, number, history, mine),
        picture=sankey.picture(data),
        layout=sankey,
        stages=STAGES,
        sides=SIDES,
        cache=verification_commands.cache_path,
    )


def labels(sides: dict[str, Split]) -> list[tuple[str, list[int]]]:
    """(label, rows per split) of every label, the largest in training first."""
    names = {label for side in sides.values() for label in side["labels"]}
    rows = [(label, [sides[side]["labels"].get(label, 0) for side, _ in SIDES]) for label in names]
    return sorted(rows, key=lambda row: ([-each for each in row[1]], row[0]))
