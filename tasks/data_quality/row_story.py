"""One row's story in this clone: how it came in, what curation did with it, and on which split it is.

What versions learned from it: `tasks.trace.search`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from retune.config import params
from retune.config.params import Params
from retune.data import label_verdicts, row_table, suppression, task_data
from retune.data.pii import redaction
from retune.models import name_model
from tasks.data_quality.curated_rows import CURATED, changes

RAW, REJECTS, SPLITS = Path("data/raw"), CURATED.with_name("rejects.parquet"), Path("data/splits")
Row = dict[str, str]


@dataclass(frozen=True)
class Arrival:
    """A state in which the row came in."""

    part: str  # file of data/raw
    row: int  # its place in the part, from 1 on
    source: str
    text: str  # without personal data; empty where the row was forgotten
    label: str  # or answer
    given: str  # the split that the data itself puts it on


@dataclass(frozen=True)
class Step:
    """What a step of curation did with the last state of the row."""

    name: str
    decision: str  # passed | rejected | not reached
    detail: str = ""


@dataclass(frozen=True)
class Story:
    id: str
    arrivals: list[Arrival]  # the oldest first
    steps: list[Step]  # of curation, in order; none where the row has not been curated
    curated: dict[str, str] | None  # text and label, where the row stays
    label_by: str | None  # who gave it another label than the records, or confirmed it
    split: str | None  # train | val | test; None where the row is on none, or nothing has been split
    outdated: list[str]  # what changed since the last curation


def tell(name: str) -> Story:
    """What there is of it; all empty where nothing has the id."""
    config = params.load()
    arrivals = list(_arrivals(name, config))
    curated, rejected = _rows(CURATED, {name}), _rows(REJECTS, {name})
    row = curated[-1] if curated else None
    return Story(
        id=name,
        arrivals=arrivals,
        steps=_steps(config.task, row, rejected),
        curated={column: row[column] for column in ("text", "label")} if row else None,
        label_by=_label_by(name, row, arrivals) if row and task_data.of(config.task).has_labels else None,
        split=next((split for split in row_table.SPLITS if _rows(SPLITS / f"{split}.parquet", {name})), None),
        outdated=changes(),
    )


def _arrivals(name: str, config: Params) -> Iterator[Arrival]:
    pii = config.curate.pii
    is_forgotten = bool(suppression.contains(suppression.read(), pd.Series([name])).iloc[0])
    finder = name_model.load(pii.names_model) if pii.names_model else None
    for part in sorted(RAW.glob("*.parquet")):
        for place, row in _matches(part, {name}):
            redacted = redaction.redact_row([row["text"], row["label"]], pii, redaction.secret_of(pii), finder)
            label = row["label"] if task_data.of(config.task).has_labels else redacted.texts[1]
            text = "" if is_forgotten else redacted.texts[0]
            yield Arrival(part.name, place + 1, row["source"], text, label, row["given"])


def _rows(path: Path, names: set[str]) -> list[Row]:
    return [row for _, row in _matches(path, names)] if path.is_file() else []


def _matches(path: Path, names: set[str]) -> Iterator[tuple[int, Row]]:
    """The place and the cells of each row with one of the ids; the other columns are read only if there is one."""
    ids = pq.read_table(path, columns=["id"])["id"].cast(pa.large_string())
    places = pc.indices_nonzero(pc.is_in(ids, pa.array(sorted(names), pa.large_string())))
    if len(places):
        table: list[dict[str, Any]] = pq.read_table(path).take(places).to_pylist()
        for place, row in zip(places.to_pylist(), table, strict=True):
            yield place, {column: "" if value is None else str(value) for column, value in row.items()}


def _steps(task: str, row: Row | None, rejected: list[Row]) -> list[Step]:
    """Of the state that stays, or of the last one that was rejected."""
    names = task_data.of(task).curation
    if row:
        return [Step(name, "passed") for name in names]
    last = [each for each in rejected if each["reason"] != "superseded"] or rejected
    if not last or last[-1]["reason"] not in names:
        return []
    reason, detail = last[-1]["reason"], last[-1]["detail"]
    place = names.index(reason)
    return [
        *(Step(name, "passed") for name in names[:place]),
        Step(reason, "rejected", detail),
        *(Step(name, "not reached") for name in names[place + 1 :]),
    ]


def _label_by(name: str, row: Row, arrivals: list[Arrival]) -> str | None:
    verdict = label_verdicts.read().get(name)
    if verdict and verdict.in_force(row["text"], row["label"]):
        return str(verdict)
    differs = arrivals and row_table.clean(arrivals[-1].label) != row["label"]
    return f"{arrivals[-1].label} → {row['label']} (curate.merge_labels)" if differs else None
