r"""Clean the received rows and drop the unusable ones; every dropped row is kept with its reason.

    python -m tasks.curate data/raw data/suppressed.json data/label_verdicts.json data/curated \
        models/reports/curate.json

`retune.data.task_data` names the steps of each task, in order; a step's name is the reason of its rejects. A row is
rejected by the first step that rejects it, and later steps do not see it. Steps that need one row alone stand in
`row_steps`, those that compare rows in `table_steps`; both files say what a new step looks like.

The rows are read twice, a batch at a time, so that their number is no limit. The first pass cleans them, runs the row
steps and collects keys; then the table steps decide by the keys; the second pass writes what stays and what does not.
How the rows are cut into batches, and how many processes clean them, changes no byte of the result.

`clusters.parquet` names the rows that are near-copies of each other (`near_copies`), for split to keep them together.

Rows that the data itself puts on the test side are the yardstick: their text stays byte for byte, and only
a missing id, text or answer, a newer row with the same id, a place on the list of suppressed rows, or a person's
verdict rejects them. Other rows give way to them.

Where a model is to write, lines and indents are part of what is said, so they stay; one prompt may have many answers.

General examples (`retune.data.replay`) are cleaned by the same steps, and counted apart. One that asks what any record
asks is left out: the records have their own answer, may stand on the test side, and may have had to be forgotten.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from retune.config import params
from retune.data import label_verdicts, replay, row_table, suppression, task_data
from retune.data import rejects as rejects_of_ingest
from retune.data.pii import redaction
from retune.data.row_table import SLICES, TEXT
from retune.errors import WrongUse
from retune.models import name_model
from retune.system.stage_io import Pace, heartbeat, run, write_json
from tasks.curate import ray_cluster, semantic_copies
from tasks.curate.doubts import Doubts
from tasks.curate.first_pass import Examination, Spool, examinations, open_spool, processes
from tasks.curate.near_copies import ALONE
from tasks.curate.out_of_scope import OutOfScope
from tasks.curate.report import (
    Tally,
    describe_near_copies,
    report_general,
    report_near_copies,
    report_unreadable,
    summary,
)
from tasks.curate.row_steps import Context, Rejects, as_received
from tasks.curate.table_steps import TABLE_STEPS, Array, KeyCollector, Keys, among, near_labels, remaining_clusters

BATCH_ROWS = 16_384
KEPT = 255  # no step rejects the row
NAMELESS = ("id", "source", "given")  # all that is written anew of a suppressed row
GENERAL = ("empty", "no_label", "personal_data", "too_short", "too_long", "asked_by_a_record", "exact_copy")

Stream = Callable[[Sequence[str]], Iterator[pa.RecordBatch]]  # reads these columns of all rows, from the first one on


@dataclass(frozen=True)
class Decision:
    """What becomes of each row."""

    steps: tuple[str, ...]
    position: Array  # of each row: which of `steps` rejects it, or KEPT
    rows: Array  # the rejected ones, ascending
    details: pa.Array  # of each of `rows`
    near: list[list[str]]  # ids of rows that stay, near to each other, of each label one
    clusters: Array  # of each row: the first of the rows that stay and are near-copies of each other, or ALONE
    first_rows: Array  # of the clusters, ascending
    first_ids: pa.Array  # their ids


def decide(
    stream: Stream,
    spool: Spool,
    context: Context,
    steps: tuple[str, ...],
    watch: Callable[[Examination], None] = lambda _: None,
    record_digests: Array | None = None,
    parts: Iterable[Examination] | None = None,
) -> tuple[Decision, Array]:
    """The first pass: what becomes of each row, and the digests of their texts. `watch` sees each batch pass.

    `record_digests`: those of the records, where the rows are examples. `parts`: the rows examined elsewhere, in order.
    """
    collector = KeyCollector(context, steps)
    rejects: dict[str, list[Rejects]] = {name: [] for name in steps}
    for part in parts or examinations(_received(stream, context), context, steps, 1):
        watch(part)
        collector.add(part.hashes)
        spool.add(part)
        for name, rejected in part.rejects.items():
            rejects[name].append(rejected)
    keys, digests = collector.keys(), collector.text_digests()
    if record_digests is not None:
        keys.rows["asked"] = among(digests, record_digests)
    position = np.full(len(keys.rows), KEPT, dtype=np.uint8)
    for place, name in enumerate(steps):
        for rejected in rejects[name]:
            position[rejected.rows] = place
    for place, name in enumerate(steps):
        if name in TABLE_STEPS:
            if name == "near_copy_of_test":
                _find_clusters(keys, np.flatnonzero(position > place), spool, context)
            rejected = TABLE_STEPS[name](keys.of(position > place), context)
            position[rejected.rows] = place
            rejects[name].append(rejected)
    rows, details = _details(stream, position, list(rejects.values()))
    remaining = keys.of(position == KEPT)
    near = near_labels(remaining) if context.facts.has_labels else []
    clusters = remaining_clusters(remaining, len(position))
    first_rows = np.unique(clusters[clusters != ALONE])
    first_ids = _ids(stream, first_rows)
    decision = Decision(steps, position, rows, details, _ids_of_groups(stream, near), clusters, first_rows, first_ids)
    return decision, digests


def _find_clusters(keys: Keys, rows: Array, spool: Spool, context: Context) -> None:
    """Gives the keys their column `cluster`, where near-copies are sought."""
    config = context.config.near_copies
    if (similarity := config.similarity) is not None:
        also = semantic_copies.pairs(spool.dialogues(rows), config.semantic) if config.semantic else None
        with heartbeat(f"comparing {len(rows):,} texts"):
            clusters = np.full(len(keys.rows), ALONE)
            clusters[rows] = spool.near_copies.clusters(rows, similarity, also)
        keys.rows["cluster"] = clusters


def outcome(
    stream: Stream, spool: Spool, context: Context, decision: Decision
) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """The second pass: of each batch the clean rows, and the rejects, which stay as they came but for personal data."""
    for batch, cleaned in zip(_received(stream, context), spool.cleaned(), strict=True):
        position = decision.position[batch.column("row").to_numpy()]
        rejects = _rejected(_without_personal_data(batch, cleaned, context), position, decision)
        yield _kept(batch, cleaned, position, context), rejects


def in_clusters(rows: pa.RecordBatch, decision: Decision) -> pa.RecordBatch:
    """Of the clean rows those in clusters of near-copies: the id of each, and that of the first row of its cluster."""
    clusters = decision.clusters[rows.column("row").to_numpy()]
    ids = rows.column("id").filter(pa.array(clusters != ALONE))
    places = np.searchsorted(decision.first_rows, clusters[clusters != ALONE])
    return pa.RecordBatch.from_pydict({"id": ids, "cluster": decision.first_ids.take(pa.array(places))})


def _received(stream: Stream, context: Context) -> Iterator[pa.RecordBatch]:
    start = 0
    for batch in stream(context.facts.columns):
        yield as_received(batch, start)
        start += batch.num_rows


def _kept(batch: pa.RecordBatch, cleaned: pa.RecordBatch, position: Array, context: Context) -> pa.RecordBatch:
    """The clean rows that stay. The text of a test row stays as it came, unless personal data stands in it."""
    as_it_came = pc.and_(batch.column("test"), pc.equal(cleaned.column("personal"), ""))
    texts = pc.if_else(as_it_came, batch.column("text"), cleaned.column("text"))
    columns = {**{name: cleaned.column(name) for name in context.facts.columns}, "text": texts}
    rows = pa.RecordBatch.from_pydict({**columns, "row": batch.column("row")})
    return rows.filter(pa.array(position == KEPT))


def _without_personal_data(batch: pa.RecordBatch, cleaned: pa.RecordBatch, context: Context) -> pa.RecordBatch:
    """The rows as they came; where personal data stands in one, its text and answers are the redacted ones."""
    personal = pc.not_equal(cleaned.column("personal"), "")
    columns = {name: batch.column(name) for name in batch.schema.names}
    columns["text"] = pc.if_else(personal, cleaned.column("redacted"), batch.column("text"))
    rewritten = () if context.facts.has_labels else context.facts.answers
    for name in (*rewritten, *({SLICES} & {*context.facts.columns})):
        columns[name] = pc.if_else(personal, cleaned.column(name), batch.column(name))
    return pa.RecordBatch.from_pydict(columns)


def _rejected(batch: pa.RecordBatch, position: Array, decision: Decision) -> pa.RecordBatch:
    rejects = batch.filter(pa.array(position != KEPT))
    reasons = pa.array([decision.steps[place] for place in position[position != KEPT]], TEXT)
    first = int(np.searchsorted(decision.rows, batch.column("row")[0].as_py())) if batch.num_rows else 0
    nameless = pc.equal(reasons, "suppressed")
    columns = {
        name: column if name in NAMELESS else pc.if_else(nameless, pa.scalar("", TEXT), column)
        for name, column in zip(batch.schema.names, rejects.columns, strict=True)
        if name not in ("row", "test")
    }
    details = decision.details.slice(first, rejects.num_rows)
    return pa.RecordBatch.from_pydict({**columns, "reason": reasons, "detail": details, "row": rejects.column("row")})


def _details(stream: Stream, position: Array, rejects: list[list[Rejects]]) -> tuple[Array, pa.Array]:
    """The rejected rows, ascending, and the detail of each. A row step may have rejected what an earlier step did."""
    twins = [rejected.twins for step in rejects for rejected in step if rejected.twins is not None]
    twin_rows = np.unique(np.concatenate([np.empty(0, np.int64), *twins]))
    ids = _ids(stream, twin_rows)
    rows, details = [np.empty(0, np.int64)], [pa.array([], TEXT)]
    for place, step in enumerate(rejects):
        for rejected in step:
            stands = position[rejected.rows] == place
            rows.append(rejected.rows[stands])
            if rejected.twins is not None:
                details.append(ids.take(pa.array(np.searchsorted(twin_rows, rejected.twins[stands]))))
            elif rejected.details is not None:
                details.append(rejected.details.filter(pa.array(stands)))
            else:
                details.append(pa.repeat(pa.scalar("", TEXT), int(stands.sum())))
    joined = np.concatenate(rows)
    order = np.argsort(joined)
    return joined[order], pa.concat_arrays(details).take(pa.array(order))


def _ids(stream: Stream, rows: Array) -> pa.Array:
    """The ids of `rows`, which are places in ascending order."""
    parts, start = [pa.array([], TEXT)], 0
    for batch in stream(["id"]) if len(rows) else ():
        first, last = np.searchsorted(rows, [start, start + batch.num_rows])
        parts.append(batch.column("id").take(pa.array(rows[first:last] - start)))
        start += batch.num_rows
    return pa.concat_arrays(parts)


def _ids_of_groups(stream: Stream, groups: list[list[int]]) -> list[list[str]]:
    places = np.unique(np.array([place for group in groups for place in group], dtype=np.int64))
    names = dict(zip(places.tolist(), _ids(stream, places).to_pylist(), strict=True))
    return [[names[place] for place in group] for group in groups]


def from_folder(raw: Path, columns: Sequence[str], batch_rows: int = BATCH_ROWS) -> Stream:
    """The rows of the parts in `raw`, the oldest first. Raises WrongUse if they lack one of `columns`."""
    _refuse_missing(row_table.names(raw), [name for name in columns if name != SLICES])
    return lambda names: row_table.batches(raw, names, batch_rows)


def from_frame(rows: pd.DataFrame, columns: Sequence[str], batch_rows: int = BATCH_ROWS) -> Stream:
    """The rows of a table in memory, the oldest first. Raises WrongUse if it lacks one of `columns`."""
    _refuse_missing(list(rows.columns), columns)
    table = pa.Table.from_pandas(rows[[*columns]].fillna("").astype("str"), preserve_index=False)
    return lambda names: iter(table.select(list(names)).to_batches(max_chunksize=batch_rows))


def _refuse_missing(names: Sequence[str], columns: Sequence[str]) -> None:
    if missing := [name for name in columns if name not in names]:
        raise WrongUse(f"the raw rows lack {', '.join(missing)}; a row has the columns {', '.join(columns)}")


def curate(rows: pd.DataFrame, context: Context, batch_rows: int = BATCH_ROWS) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The clean rows and the rejects of a table in memory; the index is the row's place in it.

    Of a suppressed row no more than id, source and split is left: its words must not be written anew.
    """
    stream = from_frame(rows, context.facts.columns, batch_rows)
    with open_spool(None) as spool:
        decision, _ = decide(stream, spool, context, context.facts.curation)
        return _frames(stream, spool, context, decision)


def curate_general(
    examples: pd.DataFrame, context: Context, record_digests: Array
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The clean examples, and how many were left out, by reason. `record_digests`: of all rows that were received."""
    stream = from_frame(examples, context.facts.columns)
    with open_spool(None) as spool:
        decision, _ = decide(stream, spool, context, GENERAL, record_digests=record_digests)
        clean_examples, rejects = _frames(stream, spool, context, decision)
    counts = rejects["reason"].value_counts()
    return clean_examples.reset_index(drop=True), {name: int(counts.get(name, 0)) for name in GENERAL}


def _frames(stream: Stream, spool: Spool, context: Context, decision: Decision) -> tuple[pd.DataFrame, pd.DataFrame]:
    pairs = [*outcome(stream, spool, context, decision)]
    columns = context.facts.columns
    clean_rows = _frame([batch for batch, _ in pairs], columns)
    return clean_rows, _frame([batch for _, batch in pairs], (*columns, "reason", "detail"))


def _frame(batches: list[pa.RecordBatch], columns: Sequence[str]) -> pd.DataFrame:
    if not batches:
        return pd.DataFrame({name: pd.Series(dtype="str") for name in columns})
    frame: pd.DataFrame = pa.Table.from_batches(batches).to_pandas()
    return frame.set_index("row")[[*columns]].rename_axis(None)


def main(raw: Path, suppressed_json: Path, verdicts_json: Path, curated: Path, report_json: Path) -> None:
    config = params.load()
    pii = config.curate.pii
    name_finder = name_model.load(pii.names_model) if pii.names_model else None
    listed, verdicts = suppression.read(suppressed_json), label_verdicts.read(verdicts_json)
    languages = [SLICES] if config.curate.languages else []
    secret, facts = redaction.secret_of(pii), task_data.of(config.task, [*row_table.names(raw), *languages])
    context = Context(facts, config.curate, listed, secret, name_finder, verdicts, row_table.first_rows(raw))
    files = replay.files_of(config)
    examples = replay.read(files)
    tally, doubts, others = Tally(context.facts, verdicts), Doubts(context.facts), OutOfScope()
    digests, near_copies = _curate_folder(raw, curated, context, tally, doubts, others)
    others.write(curated, BATCH_ROWS)
    report: dict[str, Any] = {**tally.report(), "near_copies": near_copies, "doubts": doubts.report()}
    report |= others.report()
    if unreadable := rejects_of_ingest.unreadable(raw):
        report["unreadable"] = report_unreadable(unreadable)
    if files:
        general, reasons = curate_general(examples, replace(context, facts=task_data.of(config.task)), digests)
        report["general"] = report_general(files, examples, general, reasons)
        print(f"kept {len(general)} of {len(examples)} general examples, which are no rows")
    row_table.write(general if files else examples, curated / "general.parquet")
    write_json(report, report_json)
    if tally.personal:
        print("personal data: " + ", ".join(f"{name} {count}" for name, count in sorted(tally.personal.items())))
    if near_copies["rows"]:
        print(describe_near_copies(near_copies))
    for warning in (*tally.warnings(), *tally.reviews.warnings(), *doubts.warnings(), *others.warnings()):
        print(f"warning: {warning}")
    print(summary(report))


def _curate_folder(
    raw: Path, curated: Path, context: Context, tally: Tally, doubts: Doubts, others: OutOfScope
) -> tuple[Array, dict[str, Any]]:
    """Writes the files of `curated` but those of examples. The digests of all texts, and the report of near-copies."""
    columns, count = context.facts.columns, row_table.count(raw)
    cluster, steps = ray_cluster.address(), context.facts.curation
    stream = from_folder(raw, columns, ray_cluster.SLICE_ROWS) if cluster else from_folder(raw, columns)
    pace = Pace("cleaning", "rows", count)

    def watch(part: Examination) -> None:
        tally.receive(part.cleaned)
        tally.redact(part.cleaned)
        pace.add(part.cleaned.num_rows)

    curated.mkdir(parents=True, exist_ok=True)
    with open_spool(curated) as spool:
        if cluster:
            parts = ray_cluster.examinations(raw, context, steps, cluster)
        else:
            parts = examinations(_received(stream, context), context, steps, processes(count, context))
        decision, digests = decide(stream, spool, context, steps, watch, parts=parts)
        pace = Pace("writing", "rows", count)
        with (
            row_table.writing(curated / "rows.parquet", columns) as rows,
            row_table.writing(curated / "rejects.parquet", (*columns, "reason", "detail")) as rejects,
            row_table.writing(curated / "clusters.parquet", ("id", "cluster")) as clusters,
        ):
            for clean_rows, rejected_rows in outcome(stream, spool, context, decision):
                tally.sort(clean_rows, rejected_rows)
                doubts.add(clean_rows)
                others.add(rejected_rows)
                rows.write(clean_rows)
                rejects.write(rejected_rows)
                clusters.write(in_clusters(clean_rows, decision))
                pace.add(clean_rows.num_rows + rejected_rows.num_rows)
    doubts.add_near(decision.near, context.config.near_copies.similarity is not None)
    return digests, report_near_copies(decision.clusters, decision.first_rows, decision.first_ids)


if __name__ == "__main__":
    run(main)
