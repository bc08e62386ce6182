"""Facts of a record that more than one document states."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from retune.documents.task_texts import PURPOSES, Purpose
from retune.evaluation import task_metrics
from retune.lineage.record import Data, Dataset, Record, Scored, Source, Start, Suppressed

Json = dict[str, Any]

SPLITS = ("train", "val", "test")


def purpose_of(record: Record) -> Purpose:
    return PURPOSES[task_metrics.task_of(record["params"])]


def describe_use(record: Record) -> str:
    labels = sorted({label for split in SPLITS for label in record["data"]["sides"][split]["labels"]})
    return purpose_of(record).description.format(count=len(labels), labels=", ".join(labels))


def scored_models(record: Record) -> Iterator[tuple[str, str, Scored]]:
    """(name, title, scores) of each model that was scored on the test rows, in reading order."""
    scores, baselines = record["scores"], task_metrics.of(task_metrics.task_of(record["params"])).baselines
    scored = {"base": scores["base"], "probe": scores["probe"]}
    yield "candidate", "this model", scores["candidate"]
    if scores["champion"]:
        yield "champion", "the champion of that time", scores["champion"]
    for prefix, title in baselines.items():
        name = prefix.removesuffix("_")
        if baseline := scored[name]:
            yield name, title, baseline


def datasets(record: Record) -> Iterator[tuple[str, Dataset | Suppressed]]:
    """The data with a DVC hash, from raw rows to splits."""
    data = record["data"]
    yield from (
        ("raw", data["raw"]),
        ("suppressed", data["suppressed"]),
        ("curated", data["curated"]),
        ("rejected", data["rejected"]),
    )
    yield from ((split, data["sides"][split]) for split in SPLITS)
    if "general" in data:
        yield "general", data["general"]


def with_unreadable(data: Data) -> Data:
    """The data as pages count it: what ingest could not read was received, and rejected."""
    if not (unreadable := data.get("unreadable")):
        return data
    rows, of_source = unreadable["rows"], unreadable["sources"]
    nothing: Source = {"received": 0, "kept": 0, "collected": "", "licence": ""}
    sources = {name: data["sources"].get(name, nothing) for name in {**data["sources"], **of_source}}
    reasons = {**data["rejected"]["reasons"], **{f"unreadable: {why}": n for why, n in unreadable["reasons"].items()}}
    return {
        **data,
        "raw": {**data["raw"], "rows": data["raw"]["rows"] + rows},
        "sources": {
            name: {**facts, "received": facts["received"] + of_source.get(name, 0)} for name, facts in sources.items()
        },
        "rejected": {**data["rejected"], "rows": data["rejected"]["rows"] + rows, "reasons": reasons},
    }


def sources_table(sources: dict[str, Source]) -> str:
    """In Markdown."""
    rows = [
        f"| {escape(name)} | {source['received']} | {source['kept']} "
        f"| {escape(source['collected']) or 'not stated'} | {escape(source['licence']) or 'not stated'} |"
        for name, source in sources.items()
    ]
    return "\n".join(["| source | rows received | kept | collected | licence |", "|---|---|---|---|---|", *rows])


def describe_replay(record: Record) -> str:
    """A sentence about the replay examples, in Markdown; empty without them."""
    if not (replay := record["data"].get("general")):
        return ""
    files = [
        f"{file['learned']} of {file['kept']} from {escape(name)} (sha256 `{file['sha256']}`)"
        for name, file in replay["files"].items()
    ]
    return f"Replay examples, mixed in against forgetting: {'; '.join(files)}."


def parent_of(record: Record) -> Start | None:
    """The version that training continued from; None if it started from the base."""
    start = record["training"].get("start")
    return None if start is None or start["from"] == "base" else start


def utc(time: str) -> str:
    return datetime.fromisoformat(time).astimezone(UTC).isoformat().replace("+00:00", "Z")


def escape(text: str) -> str:
    """Untrusted text, on one line and without Markdown."""
    return re.sub(r"([\\`|<\[*])", r"\\\1", " ".join(text.split()))


def code_text(text: str) -> str:
    return " ".join(text.replace("`", "'").split())
