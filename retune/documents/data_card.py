"""The data card of a version, in Markdown, from its record alone: where the rows came from and what became of them.

The same record always gives the same bytes.
"""

from collections.abc import Iterator

from retune.documents.record_facts import SPLITS, datasets, describe_replay, escape, sources_table, with_unreadable
from retune.lineage.record import Data, PersonalData, Record

CARD = "data_card.md"
REPORT = "data_report.html"  # of the MLflow run
NO_PERSONAL_DATA: PersonalData = {"rows": 0, "values": {}}
TOP = 30  # labels that the table lists, the largest first


def data_card(record: Record) -> str:
    """The card, in Markdown."""
    data = with_unreadable(record["data"])
    return f"""# Data of {escape(record["name"])}

{data["curated"]["rows"]:,} of {data["raw"]["rows"]:,} rows that came in were kept. Made {record["created"][:10]}.

## Where it comes from
{sources_table(data["sources"])}

## What became of it
{_steps(data)}

## Splits
{_splits(data)}

## Known gaps
{chr(10).join(f"- {gap}" for gap in _gaps(record))}

## Look further
- Examples of what was dropped, plots and drift: `{REPORT}` of the MLflow run `{record["started"]["mlflow_run"]}`.
- What the model learned from one row: `retune lineage row ID`.

| part | rows | DVC hash |
|---|---|---|
{chr(10).join(f"| {name} | {part.get('rows', '')} | `{part['md5']}` |" for name, part in datasets(record))}
"""


def _steps(data: Data) -> str:
    """Each step that rejected or changed rows, with its count."""
    lines = [
        f"| rejected: `{escape(reason)}` | {rows:,} |"
        for reason, rows in sorted(data["rejected"]["reasons"].items(), key=lambda item: (-item[1], item[0]))
        if rows
    ]
    values = data.get("personal_data", NO_PERSONAL_DATA)["values"]
    lines += [f"| personal data replaced: {escape(kind)} | {count:,} |" for kind, count in values.items()]
    table = "\n".join(["| step | rows or values |", "|---|---|", *lines])
    checks = data["validation"]
    return (
        f"{table if lines else 'No row was rejected or changed.'}\n\n"
        f"Then {checks['expectations']} expectations were checked: {checks['verdict']}."
    )


def _splits(data: Data) -> str:
    sides = data["sides"]
    totals = ", ".join(f"{split} {sides[split]['rows']:,}" for split in SPLITS)
    labels = {label: sum(sides[split]["labels"].get(label, 0) for split in SPLITS) for label in _labels(data)}
    if not labels:
        return f"Rows: {totals}."
    largest = sorted(labels, key=lambda label: (-labels[label], label))
    rows = [
        f"| {escape(label)} | {' | '.join(str(sides[split]['labels'].get(label, 0)) for split in SPLITS)} |"
        for label in largest[:TOP]
    ]
    rest = f"\n\nand {len(largest) - TOP} smaller labels." if len(largest) > TOP else ""
    return "\n".join([f"Rows: {totals}.", "", f"| label | {' | '.join(SPLITS)} |", "|---|---|---|---|", *rows]) + rest


def _labels(data: Data) -> set[str]:
    return {label for split in SPLITS for label in data["sides"][split]["labels"]}


def _gaps(record: Record) -> Iterator[str]:
    """What the record shows to be missing."""
    data = record["data"]
    for what, key in (("licence", "licence"), ("window of collection", "collected")):
        if nameless := [name for name, source in data["sources"].items() if not source.get(key)]:
            yield f"No {what} is stated for {', '.join(map(escape, nameless))}."
    for split in SPLITS:
        missing = sorted(_labels(data) - data["sides"][split]["labels"].keys())
        missing += [label for label, rows in data["sides"][split]["labels"].items() if not rows]
        if missing:
            names = ", ".join(escape(label) for label in missing[:5])
            yield f"No {split} row of {len(missing)} label{'s' if len(missing) > 1 else ''}: {names}."
    if not record["params"]["curate"].get("pii", {}).get("names_model"):
        yield "Names of people were not looked for: curate.pii.names_model is not set."
    if "unreadable" in data:
        yield f"{data['unreadable']['rows']:,} rows could not be read."
    if replay := describe_replay(record):
        yield replay
    if _labels(data):
        yield "Whether the labels are right was checked only as far as texts contradict each other."
    else:
        yield "Whether the answers are right was not checked."
